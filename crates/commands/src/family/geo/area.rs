//! Shapes to search in, and which squares cover them.
//!
//! Source: redis 7.0 `geohash_helper.c`.

use super::hash::*;

/// What is searched, around a middle. Lengths are in the unit of the request.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Up to this far.
    Circle { radius: f64 },
    /// In a box of this width and height.
    Box { width: f64, height: f64 },
}

/// A shape at its place.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub middle: Point,
    pub shape: Shape,
    /// Metres of the unit.
    pub unit: f64,
}

impl Search {
    /// The distance of a place from the middle in metres, if it lies in the shape.
    pub fn distance_of(&self, point: Point) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = distance(self.middle, point);
                // Written so that a distance that is no number counts as inside, as in Redis.
                if distance > radius * self.unit { None } else { Some(distance) }
            }
            Shape::Box { width, height } => {
                let north = latitude_distance(point.latitude, self.middle.latitude);
                if north > height * self.unit / 2.0 {
                    return None;
                }
                let beside = Point { latitude: point.latitude, ..self.middle };
                if distance(point, beside) > width * self.unit / 2.0 {
                    return None;
                }
                Some(distance(self.middle, point))
            }
        }
    }

    /// The degrees that enclose the shape.
    fn bounds(&self) -> Area {
        let Point { longitude, latitude } = self.middle;
        let (height, width) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (height / 2.0, width / 2.0),
        };
        let (height, width) = (self.unit * height, self.unit * width);
        let north = degrees(height / EARTH_RADIUS);
        let east_at = |latitude: f64| degrees(width / EARTH_RADIUS / radians(latitude).cos());
        // The wider side is the one nearer to the pole.
        let east =
            if latitude < 0.0 { east_at(latitude - north) } else { east_at(latitude + north) };
        Area {
            longitude: Range { min: longitude - east, max: longitude + east },
            latitude: Range { min: latitude - north, max: latitude + north },
        }
    }

    /// Metres from the middle to the farthest point.
    fn reach(&self) -> f64 {
        let reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        reach * self.unit
    }

    /// The squares that cover the shape, in the order in which they are searched: the one in the
    /// middle, then its neighbours, without those that can't hold anything.
    pub fn squares(&self) -> impl Iterator<Item = Square> + use<> {
        let bounds = self.bounds();
        let mut step = step_for(self.reach(), self.middle.latitude);
        let mut square = Square::of(self.middle, step);
        if step > 1 && !covered(square, bounds) {
            step -= 1;
            square = Square::of(self.middle, step);
        }
        let area = square.area();
        let needed = move |east: i64, north: i64| {
            step < 2
                || !((north < 0 && area.latitude.min < bounds.latitude.min)
                    || (north > 0 && area.latitude.max > bounds.latitude.max)
                    || (east < 0 && area.longitude.min < bounds.longitude.min)
                    || (east > 0 && area.longitude.max > bounds.longitude.max))
        };
        const ORDER: [(i64, i64); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut last: Option<Square> = None;
        ORDER.into_iter().filter(move |&(east, north)| needed(east, north)).filter_map(
            move |(east, north)| {
                let next = square.neighbour(east, north);
                // Few squares may go around the world: the same one may come twice in a row.
                let again = last == Some(next);
                last = Some(next);
                (!again).then_some(next)
            },
        )
    }
}

/// Whether a square and its neighbours reach as far as the bounds.
fn covered(square: Square, bounds: Area) -> bool {
    square.neighbour(0, 1).area().latitude.max >= bounds.latitude.max
        && square.neighbour(0, -1).area().latitude.min <= bounds.latitude.min
        && square.neighbour(1, 0).area().longitude.max >= bounds.longitude.max
        && square.neighbour(-1, 0).area().longitude.min <= bounds.longitude.min
}

/// How many bits of each coordinate a square may have so that nine of them cover mostly everything
/// within `reach` metres.
fn step_for(mut reach: f64, latitude: f64) -> u32 {
    /// Half the circumference of the projection.
    const MERCATOR_MAX: f64 = 20037726.37;
    if reach == 0.0 {
        return STEP_MAX;
    }
    let mut step = 1i32;
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        step += 1;
    }
    step -= 2;
    // Towards the poles squares cover less.
    if latitude.abs() > 66.0 {
        step -= 1;
        if latitude.abs() > 80.0 {
            step -= 1;
        }
    }
    step.clamp(1, STEP_MAX as i32) as u32
}
