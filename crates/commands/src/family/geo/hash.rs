//! Geohashes: the square of Earth's surface that a place lies in, as interleaved bits of latitude
//! and longitude; and distances on the sphere.
//!
//! Every formula is computed in the order in which Redis computes it, so that digits and choices at
//! borders are the same. Source: redis 7.0 `geohash.c`, `geohash_helper.c`.

use std::f64::consts::PI;

/// Bits of each coordinate in a score.
pub const STEP_MAX: u32 = 26;
/// Metres.
pub const EARTH_RADIUS: f64 = 6372797.560856;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// A range of degrees, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub min: f64,
    pub max: f64,
}

/// Longitudes that can be stored.
pub const LONGITUDE: Range = Range { min: -180.0, max: 180.0 };
/// Latitudes that can be stored: those of the Web Mercator projection.
pub const LATITUDE: Range = Range { min: -85.05112878, max: 85.05112878 };
/// Latitudes of the geohashes that the world uses.
const WHOLE_LATITUDE: Range = Range { min: -90.0, max: 90.0 };

impl Range {
    /// True if the degrees lie in it.
    pub fn contains(self, degrees: f64) -> bool {
        degrees >= self.min && degrees <= self.max
    }

    /// Where in the range the degrees lie, in units of its 2^step-th part.
    fn part(self, degrees: f64, step: u32) -> u32 {
        let offset = (degrees - self.min) / (self.max - self.min);
        (offset * (1u64 << step) as f64) as u32
    }

    /// The part's own range.
    fn of_part(self, part: u32, step: u32) -> Range {
        let (scale, parts) = (self.max - self.min, (1u64 << step) as f64);
        Range {
            min: self.min + (f64::from(part) / parts) * scale,
            max: self.min + (f64::from(part.wrapping_add(1)) / parts) * scale,
        }
    }
}

/// A square of the surface: `step` bits of each coordinate, those of the latitude in the even bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Square {
    pub bits: u64,
    pub step: u32,
}

/// The degrees that a square covers.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub longitude: Range,
    pub latitude: Range,
}

/// Spreads the bits over the even places.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    x = (x | x << 16) & 0x0000_ffff_0000_ffff;
    x = (x | x << 8) & 0x00ff_00ff_00ff_00ff;
    x = (x | x << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x << 2) & 0x3333_3333_3333_3333;
    (x | x << 1) & 0x5555_5555_5555_5555
}

/// Collects the bits at the even places.
fn collect(bits: u64) -> u32 {
    let mut x = bits & 0x5555_5555_5555_5555;
    x = (x | x >> 1) & 0x3333_3333_3333_3333;
    x = (x | x >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

const EVEN: u64 = 0x5555_5555_5555_5555;
const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;

impl Square {
    /// The square of this size that a place lies in. Its coordinates are in range.
    pub fn of(point: Point, step: u32) -> Square {
        Square::within(LATITUDE, point, step)
    }

    fn within(latitude: Range, point: Point, step: u32) -> Square {
        let latitude = latitude.part(point.latitude, step);
        let longitude = LONGITUDE.part(point.longitude, step);
        Square { bits: spread(latitude) | spread(longitude) << 1, step }
    }

    /// The smallest square that a score stands for.
    pub fn of_score(score: f64) -> Square {
        Square { bits: truncated(score), step: STEP_MAX }
    }

    /// The scores of places in it: from the first one on, below the second one.
    pub fn scores(self) -> (f64, f64) {
        let shift = 52 - 2 * self.step;
        ((self.bits << shift) as f64, (self.bits.wrapping_add(1) << shift) as f64)
    }

    /// What it covers.
    pub fn area(self) -> Area {
        Area {
            longitude: LONGITUDE.of_part(collect(self.bits >> 1), self.step),
            latitude: LATITUDE.of_part(collect(self.bits), self.step),
        }
    }

    /// The place in its middle.
    pub fn middle(self) -> Point {
        let Area { longitude, latitude } = self.area();
        let middle = |range: Range, all: Range| {
            let middle = (range.min + range.max) / 2.0;
            if middle > all.max {
                all.max
            } else if middle < all.min {
                all.min
            } else {
                middle
            }
        };
        Point { longitude: middle(longitude, LONGITUDE), latitude: middle(latitude, LATITUDE) }
    }

    /// The square so many columns to the east and rows to the north, around the world.
    pub fn neighbour(self, east: i64, north: i64) -> Square {
        let unused = 64 - self.step * 2;
        // Adding to one coordinate carries over the other one's bits when they are all set.
        let moved = |own: u64, own_mask: u64, other_mask: u64, by: i64| {
            let gap = other_mask >> unused;
            let sum = match by {
                0 => own,
                1.. => own.wrapping_add(gap.wrapping_add(1)),
                _ => (own | gap).wrapping_sub(gap.wrapping_add(1)),
            };
            if by == 0 { own } else { sum & (own_mask >> unused) }
        };
        let x = moved(self.bits & ODD, ODD, EVEN, east);
        let y = moved(self.bits & EVEN, EVEN, ODD, north);
        Square { bits: x | y, step: self.step }
    }
}

/// A double as the bits of a geohash. Scores that no GEOADD has made may be anything: what is
/// computed is what x86-64 computes for such a conversion.
fn truncated(score: f64) -> u64 {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    let convert = |value: f64| -> u64 {
        if value > -TWO_63 && value < TWO_63 { value as i64 as u64 } else { 1 << 63 }
    };
    if score < TWO_63 { convert(score) } else { convert(score - TWO_63) ^ 1 << 63 }
}

/// The score of a place.
pub fn score_of(point: Point) -> u64 {
    Square::of(point, STEP_MAX).bits
}

/// The place of a score.
pub fn point_of(score: f64) -> Point {
    Square::of_score(score).middle()
}

/// The geohash of a score as the world writes it: 11 letters, of which the last one is always `0`
/// since only 52 bits are known.
pub fn text_of(score: f64) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Square::within(WHOLE_LATITUDE, point_of(score), STEP_MAX).bits;
    std::array::from_fn(|at| {
        let index = if at == 10 { 0 } else { bits >> (52 - (at + 1) * 5) & 31 };
        ALPHABET[index as usize]
    })
}

/// Degrees as radians.
pub fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

/// Radians as degrees.
pub fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// Metres between two latitudes.
pub fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS * (radians(b) - radians(a)).abs()
}

/// Metres between two places, by the haversine formula.
pub fn distance(a: Point, b: Point) -> f64 {
    let v = ((radians(b.longitude) - radians(a.longitude)) / 2.0).sin();
    if v == 0.0 {
        return latitude_distance(a.latitude, b.latitude);
    }
    let (from, to) = (radians(a.latitude), radians(b.latitude));
    let u = ((to - from) / 2.0).sin();
    let half = u * u + from.cos() * to.cos() * v * v;
    2.0 * EARTH_RADIUS * half.sqrt().asin()
}
