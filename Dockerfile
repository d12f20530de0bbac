# Two images: the last stage, which is the default, has nothing but the binary; `--target with-shell` has a shell and
# core utilities for notification scripts. docs/containers.md says what both understand.

ARG RUST_IMAGE=rust:1.95-bookworm
ARG SHELL_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /source
COPY . .
# The target is named so that the flag is not used for procedural macros.
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --release --locked --package redoubt --target "$(rustc -vV | sed -n 's/^host: //p')" \
    && docker/root.sh target/*-linux-gnu/release/redoubt /image

FROM ${SHELL_IMAGE} AS with-shell
COPY --from=build /image/usr/local/bin/ /usr/local/bin/
RUN groupadd --system --gid 999 redis && useradd --system --uid 999 --gid 999 --home-dir /data redis \
    && mkdir -p /data && chown 999:999 /data
ENV PATH=/usr/local/bin:/usr/bin:/bin
WORKDIR /data
VOLUME /data
USER 999:999
EXPOSE 6379 26379
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/redoubt", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/redoubt", "container"]

FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/local/bin:/usr/bin:/bin
WORKDIR /data
VOLUME /data
# The user of the common image: its volumes open without a chown.
USER 999:999
EXPOSE 6379 26379
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/usr/local/bin/redoubt", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/redoubt", "container"]
