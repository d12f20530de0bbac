//! Geo commands: sorted sets whose scores are places on Earth, as geohashes of 52 bits.

mod area;
mod hash;
mod member;
mod search;

use crate::args::float;
use crate::{Command, CommandError, DataFn};
use hash::{LATITUDE, LONGITUDE, Point};
use resp::Reply;

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &member::GEOADD,
    &member::GEODIST,
    &member::GEOHASH,
    &member::GEOPOS,
    &search::GEOSEARCH,
    &search::GEOSEARCHSTORE,
    &search::GEORADIUS,
    &search::GEORADIUS_RO,
    &search::GEORADIUSBYMEMBER,
    &search::GEORADIUSBYMEMBER_RO,
];

/// A place from two arguments. Source: redis 7.0 `geo.c:extractLongLatOrReply`.
fn point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let (longitude, latitude) = (float(longitude)?, float(latitude)?);
    if !LONGITUDE.contains(longitude) || !LATITUDE.contains(latitude) {
        return Err(CommandError::owned(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(Point { longitude, latitude })
}

/// How many metres a unit has. Source: redis 7.0 `geo.c:extractUnitOrReply`.
fn unit(word: &[u8]) -> Result<f64, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::new("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// Writes a distance: a string with four digits behind the point, in both protocols.
fn reply_distance(reply: &mut Reply, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

/// Writes a place as longitude and latitude, each with up to 17 digits behind the point.
/// Source: redis 7.0 `networking.c:addReplyHumanLongDouble`.
fn reply_point(reply: &mut Reply, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let mut text = Vec::with_capacity(24);
        stdx::format_f64_fixed17(&mut text, degrees);
        if reply.is_resp3() {
            let buffer = reply.buffer_mut();
            buffer.push(b',');
            buffer.extend_from_slice(&text);
            buffer.extend_from_slice(b"\r\n");
        } else {
            reply.bulk(&text);
        }
    }
}

#[cfg(test)]
mod tests;
