#!/bin/sh
# Lays out the file system of the image: docker/root.sh BINARY FOLDER
# The binary, links to it by Redis's names, the user that the common image has, a data folder that he owns.
set -eu
binary=$1
root=$2
mkdir -p "$root/usr/local/bin" "$root/etc" "$root/data" "$root/tmp"
cp "$binary" "$root/usr/local/bin/redoubt"
chmod 755 "$root/usr/local/bin/redoubt"
for name in redis-server redis-sentinel redis-cli redis-benchmark; do
    ln -sf redoubt "$root/usr/local/bin/$name"
done
echo 'root:x:0:0:root:/:/sbin/nologin
redis:x:999:999:redis:/data:/sbin/nologin' >"$root/etc/passwd"
echo 'root:x:0:
redis:x:999:' >"$root/etc/group"
chmod 1777 "$root/tmp"
# A new named volume takes its owner from here.
chown 999:999 "$root/data"
