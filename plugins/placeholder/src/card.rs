//! The picture: discs on a gradient in the seed's palette, and a panel with the words.

use crate::{
    canvas::{Canvas, Colour, Shape, hsl},
    text::{Face, wrap},
};
use image::{
    ExtendedColorType, ImageEncoder, ImageResult,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
        webp::WebPEncoder,
    },
};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight};
use plugin_api::OutputFormat;

/// Everything that decides the bytes.
pub struct Card {
    pub width: u32,
    pub height: u32,
    pub seed: u32,
    pub palette: Palette,
    pub transparent: bool,
    pub format: OutputFormat,
    pub title: String,
    pub prompt: String,
    pub footer: String,
}

#[derive(Clone, Copy)]
pub enum Palette {
    Any,
    Mono,
    Warm,
    Cool,
}

impl Palette {
    /// The hue where the seed's colours begin, how far they reach, and how strong they are.
    fn of(self, dice: &mut Dice) -> (f32, f32, f32) {
        match self {
            Palette::Any => (dice.roll(0.0, 1.0), 0.22, 0.55),
            Palette::Mono => (0.0, 0.0, 0.0),
            Palette::Warm => (dice.roll(-0.06, 0.04), 0.12, 0.65),
            Palette::Cool => (dice.roll(0.46, 0.62), 0.16, 0.5),
        }
    }
}

/// A small generator (SplitMix64): the same numbers for a seed on every machine and in every version.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// At least `low`, below `high`.
    pub fn roll(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1_u64 << 24) as f32)
    }
}

impl Card {
    /// Draws and encodes.
    ///
    /// # Errors
    /// The encoder's own; none is known for these sizes.
    pub fn render(&self) -> ImageResult<Vec<u8>> {
        let mut canvas = Canvas::new(self.width as usize, self.height as usize, self.transparent);
        let (ink, accent) = self.background(&mut canvas);
        self.panel(&mut canvas, ink, accent);
        encode(&canvas, self.format)
    }

    /// Returns the panel's colour and the accent that goes with it.
    fn background(&self, canvas: &mut Canvas) -> (Colour, Colour) {
        let mut dice = Dice::new(u64::from(self.seed));
        let (hue, reach, strong) = self.palette.of(&mut dice);
        let ground = canvas.ramp(
            hsl(hue, strong, 0.30),
            hsl(hue + reach, strong, 0.52),
            if self.transparent { 0 } else { 255 },
        );
        canvas.paint(&ground);
        let (w, h) = (self.width as f32, self.height as f32);
        let long = w.max(h);
        let count = 3 + dice.next() % 3;
        for n in 0..count {
            let radius = long * dice.roll(0.30, 0.42) / (1.0 + n as f32 * 0.45);
            let (x, y) = (dice.roll(0.05, 0.95) * w, dice.roll(0.0, 0.7) * h);
            let shade = hue + reach * dice.roll(0.1, 1.4);
            let light = dice.roll(0.45, 0.68);
            let disc =
                canvas.ramp(hsl(shade, strong, light + 0.12), hsl(shade + 0.05, strong, light - 0.22), 255);
            canvas.fill(&Shape::disc(x, y, radius), &disc);
            if dice.next().is_multiple_of(2) {
                let core = canvas.ramp(
                    hsl(shade, strong, light - 0.16),
                    hsl(shade + 0.08, strong, light + 0.10),
                    255,
                );
                canvas.fill(&Shape::disc(x, y, radius * dice.roll(0.35, 0.75)), &core);
            }
        }
        (hsl(hue, strong * 0.6, 0.11), hsl(hue + reach * 0.8, strong, 0.72))
    }

    fn panel(&self, canvas: &mut Canvas, ink: Colour, accent: Colour) {
        let (w, h) = (canvas.width, canvas.height);
        let short = w.min(h);
        let (margin, pad) = (short / 16, (short / 26).max(3));
        let (inner_w, inner_h) = (w - 2 * margin - 2 * pad, h - 2 * margin - 2 * pad);
        let (large, small, scale) = sizes(short);
        let title = Face::new(small, FontWeight::Bold, scale);
        let note = Face::new(small, FontWeight::Regular, scale);
        // Title and footer go first where there is no room for all.
        let room = |lines: usize| inner_h > lines * note.line() + pad;
        let (titled, footed) = (room(3), room(4));
        let around =
            usize::from(titled) * (title.line() + pad / 2) + usize::from(footed) * (note.line() + pad / 2);
        let fit = |face: Face, most: usize| {
            wrap(&self.prompt, inner_w / face.advance(), most.min((inner_h - around) / face.line()))
        };
        let big = Face::new(large, FontWeight::Regular, scale * 2);
        let plain = Face::new(large, FontWeight::Regular, scale);
        // A short prompt is written large.
        let short_prompt = self.prompt.chars().take(80).count() < 80 && inner_h > 6 * big.line();
        let words = if short_prompt { fit(big, 4) } else { Vec::new() };
        let cut = words.last().is_none_or(|line| line.ends_with("..."));
        let (face, words) = if cut { (plain, fit(plain, usize::MAX)) } else { (big, words) };

        let height = 2 * pad + around + words.len() * face.line();
        let (top, left) = (h - margin - height, margin + pad);
        let dark = canvas.ramp(ink, ink.map(|c| c * 1.5 + 6.0), 255);
        let bright = canvas.ramp(accent, accent, 255);
        canvas.fill(&Shape::rounded(margin, top, w - margin, h - margin, short / 32), &dark);
        let mut y = top + pad;
        if titled {
            canvas.write(left, y, &one_line(&self.title, inner_w, title), title, accent);
            let (line, bar) = (y + title.line() + pad / 8, (short / 256).max(1));
            let wide = (title.advance() * 4).min(inner_w);
            canvas.fill(&Shape::rounded(left, line, left + wide, line + bar, 0), &bright);
            y += title.line() + pad / 2;
        }
        for line in &words {
            canvas.write(left, y, line, face, [245.0; 3]);
            y += face.line();
        }
        if footed {
            y += pad / 2;
            canvas.write(left, y, &one_line(&self.footer, inner_w, note), note, [165.0; 3]);
        }
    }
}

fn one_line(text: &str, width: usize, face: Face) -> String {
    wrap(text, width / face.advance(), 1).pop().unwrap_or_default()
}

/// The faces that suit a picture whose shorter side is this long.
fn sizes(short: usize) -> (RasterHeight, RasterHeight, usize) {
    use RasterHeight::*;
    match short {
        0..320 => (Size16, Size16, 1),
        320..640 => (Size20, Size16, 1),
        640..900 => (Size24, Size20, 1),
        900..1500 => (Size32, Size24, 1),
        _ => (Size32, Size24, 2),
    }
}

fn encode(canvas: &Canvas, format: OutputFormat) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(canvas.pixels.len() / 8);
    let colour = if canvas.stride == 4 { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
    let (w, h) = (canvas.width as u32, canvas.height as u32);
    match format {
        OutputFormat::Png => {
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up).write_image(
                &canvas.pixels,
                w,
                h,
                colour,
            )?;
        }
        OutputFormat::Jpeg => {
            JpegEncoder::new_with_quality(&mut bytes, 90).write_image(&canvas.pixels, w, h, colour)?;
        }
        OutputFormat::Webp => {
            WebPEncoder::new_lossless(&mut bytes).write_image(&canvas.pixels, w, h, colour)?;
        }
    }
    Ok(bytes)
}
