//! Pixels. Every surface is a diagonal gradient, so that a row of it is one copy of a stretch of its ramp; only
//! edges and letters are blended pixel by pixel. That keeps drawing quick in an unoptimised build too.

use crate::text::Face;

pub type Colour = [f32; 3];

/// Hue in turns (any value), saturation and lightness in 0..=1.
pub fn hsl(hue: f32, saturation: f32, lightness: f32) -> Colour {
    let reach = saturation * lightness.min(1.0 - lightness);
    let channel = |n: f32| {
        let k = (n + hue.rem_euclid(1.0) * 12.0) % 12.0;
        (lightness - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)) * 255.0
    };
    [channel(0.0), channel(8.0), channel(4.0)]
}

/// A gradient from the upper left to the lower right corner.
pub struct Ramp {
    pixels: Vec<u8>,
    stride: usize,
}

/// Three or four channels, 8 bits each, rows from the top.
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    /// Bytes of a pixel: 3 (RGB) or 4 (RGBA).
    pub stride: usize,
    pub pixels: Vec<u8>,
}

/// A rectangle with its corners (pixel edges), rounded by growing it by `radius`; a disc is a point grown.
#[derive(Clone, Copy)]
pub struct Shape {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
    pub radius: f32,
}

impl Shape {
    pub fn disc(x: f32, y: f32, radius: f32) -> Shape {
        Shape { left: x, top: y, right: x, bottom: y, radius }
    }
    /// The rounded rectangle that fills these edges.
    pub fn rounded(left: usize, top: usize, right: usize, bottom: usize, radius: usize) -> Shape {
        let r = radius.min((right - left) / 2).min((bottom - top) / 2) as f32;
        let (left, top, right, bottom) = (left as f32, top as f32, right as f32, bottom as f32);
        Shape { left: left + r, top: top + r, right: right - r, bottom: bottom - r, radius: r }
    }
}

impl Canvas {
    pub fn new(width: usize, height: usize, alpha: bool) -> Canvas {
        let stride = if alpha { 4 } else { 3 };
        Canvas { width, height, stride, pixels: vec![0; width * height * stride] }
    }

    pub fn ramp(&self, from: Colour, to: Colour, alpha: u8) -> Ramp {
        let length = self.width + self.height;
        let mut pixels = Vec::with_capacity(length * self.stride);
        for n in 0..length {
            let at = n as f32 / length as f32;
            for (from, to) in from.iter().zip(to) {
                pixels.push((from + (to - from) * at + 0.5) as u8);
            }
            if self.stride == 4 {
                pixels.push(alpha);
            }
        }
        Ramp { pixels, stride: self.stride }
    }

    /// Covers everything.
    pub fn paint(&mut self, ramp: &Ramp) {
        for y in 0..self.height {
            self.span(y, 0, self.width, ramp);
        }
    }

    fn span(&mut self, y: usize, from: usize, to: usize, ramp: &Ramp) {
        let to = to.min(self.width);
        if from < to {
            let start = y * self.width;
            let row = &mut self.pixels[(start + from) * self.stride..(start + to) * self.stride];
            row.copy_from_slice(&ramp.pixels[(y + from) * ramp.stride..(y + to) * ramp.stride]);
        }
    }

    /// Fills a shape, its edge smooth.
    pub fn fill(&mut self, shape: &Shape, ramp: &Ramp) {
        let r = shape.radius;
        let first = (shape.top - r - 1.0).max(0.0) as usize;
        let last = ((shape.bottom + r + 1.0).max(0.0) as usize).min(self.height);
        for y in first..last {
            let middle = y as f32 + 0.5;
            let dy = (shape.top - middle).max(middle - shape.bottom).max(0.0);
            let reach = |r: f32| (r >= dy).then(|| (r * r - dy * dy).sqrt());
            let Some(outer) = reach(r + 0.5) else { continue };
            let bound = |x: f32| (x.max(0.0) as usize).min(self.width);
            let (begin, end) = (bound(shape.left - outer), bound((shape.right + outer).ceil()));
            let (inside, outside) = match reach(r - 0.5) {
                Some(inner) => {
                    let inside = bound((shape.left - inner).ceil());
                    (inside, bound((shape.right + inner).floor()).max(inside))
                }
                None => (end, end),
            };
            self.span(y, inside, outside, ramp);
            for x in (begin..inside).chain(outside..end) {
                let middle = x as f32 + 0.5;
                let dx = (shape.left - middle).max(middle - shape.right).max(0.0);
                let covered = (r + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
                let at = (y + x) * ramp.stride;
                self.blend(x, y, &ramp.pixels[at..at + ramp.stride], (covered * 255.0) as u8);
            }
        }
    }

    /// Writes a line of text with its upper left corner there; what is outside is not drawn.
    pub fn write(&mut self, left: usize, top: usize, text: &str, face: Face, colour: Colour) {
        let [r, g, b] = colour.map(|c| c as u8);
        let ink = &[r, g, b, 255][..self.stride];
        for (n, c) in text.chars().enumerate() {
            let left = left + n * face.advance();
            face.glyph(c, |x, y, covered| {
                if left + x < self.width && top + y < self.height {
                    self.blend(left + x, top + y, ink, covered);
                }
            });
        }
    }

    fn blend(&mut self, x: usize, y: usize, ink: &[u8], covered: u8) {
        let at = (y * self.width + x) * self.stride;
        let covered = u32::from(covered);
        for (under, over) in self.pixels[at..].iter_mut().zip(ink) {
            *under = ((u32::from(*under) * (255 - covered) + u32::from(*over) * covered + 127) / 255) as u8;
        }
    }
}
