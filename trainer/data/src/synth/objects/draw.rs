//! From an object with its traits to pixels.

use std::f64::consts::TAU;

use super::super::dsp::Random;
use super::Traits;
use super::shapes::{Form, Point, SHAPES, Shape, Tone};

/// Pixels on a side.
pub const SIDE: usize = 32;
/// Bytes of an image: planes of red, green and blue.
const IMAGE_LEN: usize = 3 * SIDE * SIDE;
/// Half the extent of an object of each size, in pixels; sizes do not touch.
const RADII: [[f64; 2]; 3] = [[7.0, 8.2], [9.6, 10.9], [12.6, 14.0]];
/// Hues of the colours, in turns, and how far one is off them.
const HUES: [f64; 6] = [0.0, 0.145, 0.34, 0.5, 0.65, 0.84];
const HUE_JITTER: f64 = 0.025;
/// Points of a pixel on a side.
const FINENESS: usize = 3;
/// Standard deviation of the noise of a channel, of 255.
const NOISE: f64 = 9.0;

type Rgb = [f64; 3];

/// An object in front of something, in coordinates that are pixels of an image of [`SIDE`].
struct Scene {
    place: Placement,
    body: Rgb,
    coat: Waves,
    background: Background,
    shape: Shape,
}

impl Scene {
    /// Everything but the traits is random.
    fn draw(traits: Traits, random: &mut Random) -> Self {
        let place = Placement::draw(traits.size, random);
        let (hue, saturation, brightness) = (
            HUES[usize::from(traits.color).min(HUES.len() - 1)] + random.within([-HUE_JITTER, HUE_JITTER]),
            random.within([0.65, 1.0]),
            random.within([0.55, 0.95]),
        );
        let body = rgb(hue, saturation, brightness);
        let coat = Waves::draw([0.0, 0.22], [0.8, 2.5], random);
        let background = Background::draw(random);
        let (_, shape) = SHAPES[usize::from(traits.class).min(SHAPES.len() - 1)];
        Self { place, body, coat, background, shape }
    }

    fn colour_at(&self, point: Point) -> Rgb {
        let of_object = self.place.object(point);
        match self.shape.iter().rev().find(|(_, form)| form.holds(of_object)) {
            Some((tone, _)) => {
                let shade = 1.0 + self.coat.at(of_object);
                toned(self.body, *tone).map(|channel| channel * shade)
            }
            None => self.background.at(point),
        }
    }
}

/// Draws an object in front of a background of the hue `ground`, in turns, as an image of `height` x `width`: pixels of red, green
/// and blue.
pub fn scene(traits: Traits, ground: f64, [height, width]: [usize; 2], random: &mut Random) -> Vec<u8> {
    const FINENESS: usize = 2;
    let mut scene = Scene::draw(traits, random);
    scene.background.colours =
        [(); 2].map(|()| rgb(ground, random.within([0.3, 0.6]), random.within([0.35, 0.9])));
    // The shorter side shows what an image of SIDE pixels does; the object stands somewhere along the longer one.
    let unit = SIDE as f64 / height.min(width).max(1) as f64;
    let offset = [width, height].map(|side| (side as f64 * unit - SIDE as f64) * random.unit());
    let mut image = Vec::with_capacity(3 * height * width);
    for row in 0..height {
        for column in 0..width {
            let mut sum = [0.0; 3];
            for part in 0..FINENESS * FINENESS {
                let at =
                    |pixel: usize, part: usize| (pixel as f64 + (part as f64 + 0.5) / FINENESS as f64) * unit;
                let point = [at(column, part % FINENESS) - offset[0], at(row, part / FINENESS) - offset[1]];
                for (sum, channel) in sum.iter_mut().zip(scene.colour_at(point)) {
                    *sum += channel;
                }
            }
            let noise = NOISE * random.normal();
            let byte = |sum: f64| 255.0 * sum / (FINENESS * FINENESS) as f64 + noise;
            image.extend(sum.map(|sum| byte(sum).round().clamp(0.0, 255.0) as u8));
        }
    }
    image
}

/// Draws an object in front of something; everything but its traits is random.
pub fn draw(traits: Traits, random: &mut Random) -> Vec<u8> {
    let scene = Scene::draw(traits, random);
    let mut image = vec![0; IMAGE_LEN];
    for row in 0..SIDE {
        for column in 0..SIDE {
            let mut sum = [0.0; 3];
            for part in 0..FINENESS * FINENESS {
                let offset = |index: usize| (index as f64 + 0.5) / FINENESS as f64;
                let pixel = [column as f64 + offset(part % FINENESS), row as f64 + offset(part / FINENESS)];
                for (sum, channel) in sum.iter_mut().zip(scene.colour_at(pixel)) {
                    *sum += channel;
                }
            }
            for (channel, sum) in sum.iter().enumerate() {
                let mean = 255.0 * sum / (FINENESS * FINENESS) as f64;
                image[(channel * SIDE + row) * SIDE + column] =
                    (mean + NOISE * random.normal()).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    image
}

/// Where an object stands: the linear map and the shift from pixels to its own coordinates.
struct Placement {
    matrix: [[f64; 2]; 2],
    centre: Point,
}

impl Placement {
    fn draw(size: u8, random: &mut Random) -> Self {
        let radius = random.within(RADII[usize::from(size).min(RADII.len() - 1)]);
        let angle = random.within([-0.35, 0.35]);
        let mirror = if random.chance(0.5) { 1.0 } else { -1.0 };
        let (shear, aspect) = (random.within([-0.15, 0.15]), random.factor(0.06));
        let room = SIDE as f64 / 2.0 - 0.9 * radius;
        let centre = [(); 2].map(|()| SIDE as f64 / 2.0 + random.within([-room, room]));
        let (sin, cos) = angle.sin_cos();
        let [wide, high] = [mirror / (radius * aspect), aspect / radius];
        Self {
            matrix: [[wide * (cos + shear * sin), wide * (sin - shear * cos)], [-high * sin, high * cos]],
            centre,
        }
    }

    fn object(&self, [x, y]: Point) -> Point {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        self.matrix.map(|row| row[0] * x + row[1] * y)
    }
}

/// A pattern of two waves.
struct Waves([(Point, f64, f64); 2]);

impl Waves {
    fn draw(amplitudes: [f64; 2], waves: [f64; 2], random: &mut Random) -> Self {
        Self([(); 2].map(|()| {
            let (sin, cos) = random.within([0.0, TAU]).sin_cos();
            let number = TAU * random.within(waves);
            ([number * cos, number * sin], random.within([0.0, TAU]), random.within(amplitudes))
        }))
    }

    fn at(&self, [x, y]: Point) -> f64 {
        self.0
            .iter()
            .map(|(wave, phase, amplitude)| amplitude * (wave[0] * x + wave[1] * y + phase).sin())
            .sum()
    }
}

/// Two pale colours that pass into each other, with a pattern and up to three spots.
struct Background {
    colours: [Rgb; 2],
    direction: Point,
    pattern: Waves,
    spots: Vec<(Form, Rgb)>,
}

impl Background {
    fn draw(random: &mut Random) -> Self {
        let pale =
            |random: &mut Random| rgb(random.unit(), random.within([0.0, 0.3]), random.within([0.15, 0.95]));
        let (sin, cos) = random.within([0.0, TAU]).sin_cos();
        let num_spots = random.index(4);
        let spots = (0..num_spots).map(|_| {
            let side = SIDE as f64;
            let centre = [random.within([0.0, side]), random.within([0.0, side])];
            let radii = [random.within([1.5, 6.0]), random.within([1.5, 6.0])];
            (Form::Ellipse(centre, radii), pale(random))
        });
        let spots = spots.collect();
        Self {
            colours: [pale(random), pale(random)],
            direction: [cos, sin].map(|x| x / SIDE as f64),
            pattern: Waves::draw([0.0, 0.1], [0.05, 0.25], random),
            spots,
        }
    }

    fn at(&self, pixel: Point) -> Rgb {
        if let Some((_, colour)) = self.spots.iter().find(|(spot, _)| spot.holds(pixel)) {
            return *colour;
        }
        let [x, y] = pixel.map(|x| x - SIDE as f64 / 2.0);
        let share = (0.5 + self.direction[0] * x + self.direction[1] * y).clamp(0.0, 1.0);
        let shade = 1.0 + self.pattern.at(pixel);
        let [from, to] = self.colours;
        [0, 1, 2].map(|channel: usize| shade * (from[channel] + share * (to[channel] - from[channel])))
    }
}

fn toned(colour: Rgb, tone: Tone) -> Rgb {
    match tone {
        Tone::Body => colour,
        Tone::Light => colour.map(|channel| 0.4 * channel + 0.6),
        Tone::Dark => colour.map(|channel| 0.5 * channel),
    }
}

/// From hue (in turns), saturation and brightness, all within 0..1.
fn rgb(hue: f64, saturation: f64, brightness: f64) -> Rgb {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + 6.0 * hue).rem_euclid(6.0);
        brightness * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}
