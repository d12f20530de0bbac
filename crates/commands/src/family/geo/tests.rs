//! Tests of the geo commands.

use crate::testkit::Kit;

const ADD: &str = "GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

/// Replies of a redis-server 7.0.15.
#[test]
fn members() {
    let mut kit = Kit::default();
    kit.check(&[
        (ADD, ":2"),
        ("GEODIST s Palermo Catania", "$11 166274.1516"),
        ("GEODIST s Palermo Catania KM", "$8 166.2742"),
        ("GEODIST s Palermo Catania x", "-ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEODIST s Palermo x", "$-1"),
        ("GEOHASH s Palermo Catania x", "*3 $11 sqc8b49rny0 $11 sqdtr74hyu0 $-1"),
        ("GEOPOS s Palermo x", "*2 *2 $20 13.36138933897018433 $20 38.11555639549629859 *-1"),
        ("GEOADD s 200 100 x", "-ERR invalid longitude,latitude pair 200.000000,100.000000"),
        ("GEOADD s 1 1", "-ERR wrong number of arguments for 'geoadd' command"),
        ("GEOADD s NX XX 1 1 x", "-ERR syntax error"),
        ("GEOADD s XX CH 14 38 Palermo", ":1"),
    ]);
    kit.check_effects(&[
        ("GEOADD t CH 15.087269 37.502669 Catania", "zadd t CH 3479447370796909 Catania"),
        ("GEOADD t CH 15.087269 37.502669 Catania", ""),
    ]);
    let mut kit = Kit::resp3();
    kit.check(&[
        (ADD, ":2"),
        ("GEOPOS s Catania", "*1 *2 ,15.08726745843887329 ,37.50266842333162032"),
    ]);
}

#[test]
fn searches() {
    let mut kit = Kit::default();
    kit.check(&[
        (ADD, ":2"),
        (
            "GEOSEARCH s FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST WITHHASH",
            "*2 *3 $7 Catania $7 56.4413 :3479447370796909 *3 $7 Palermo $8 190.4424 \
             :3479099956230698",
        ),
        ("GEOSEARCH s FROMMEMBER Palermo BYBOX 400 400 km DESC", "*2 $7 Catania $7 Palermo"),
        ("GEORADIUS s 15 37 100 km STORE d", ":1"),
        ("ZRANGE d 0 -1 WITHSCORES", "*2 $7 Catania $16 3479447370796909"),
        ("GEORADIUSBYMEMBER s Catania 200 km COUNT 1 STOREDIST d", ":1"),
        ("ZRANGE d 0 -1 WITHSCORES", "*2 $7 Catania $1 0"),
        ("GEOSEARCH nokey FROMMEMBER x BYRADIUS 1 m", "*0"),
        ("GEOSEARCH s FROMMEMBER x BYRADIUS 1 m", "-ERR could not decode requested zset member"),
        ("GEOSEARCH s FROMLONLAT 1 1 BYRADIUS -1 m", "-ERR radius cannot be negative"),
        (
            "GEOSEARCH s BYRADIUS 1 m COUNT 1 ANY ASC",
            "-ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH",
        ),
        (
            "geosearch s FROMLONLAT 1 1 ASC ASC ASC",
            "-ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch",
        ),
        (
            "GEORADIUS s 15 37 100 km STORE d WITHDIST",
            "-ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
             WITHCOORD options",
        ),
        ("GEORADIUS_RO s 15 37 100 km STORE d", "-ERR syntax error"),
        ("GEORADIUS s 15 37 100 km ANY", "-ERR the ANY argument requires COUNT argument"),
    ]);
    kit.check_events(&[
        ("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km", "geosearchstore d", 2),
        ("GEORADIUS s 15 37 200 km STORE d STOREDIST e", "georadiusstore e", 2),
        ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m", "del d", 1),
        ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m", "", 0),
    ]);
}
