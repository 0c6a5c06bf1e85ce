//! Words on the card: what the font can show, broken into lines, and the coverage of each character.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// One face of the font: a rasterised height, a weight, and a whole-number enlargement.
#[derive(Clone, Copy)]
pub struct Face {
    height: RasterHeight,
    weight: FontWeight,
    scale: usize,
}

impl Face {
    pub fn new(height: RasterHeight, weight: FontWeight, scale: usize) -> Face {
        Face { height, weight, scale: scale.max(1) }
    }
    /// Pixels from one character to the next.
    pub fn advance(self) -> usize {
        get_raster_width(self.weight, self.height) * self.scale
    }
    /// Pixels from one line to the next, the font's own leading included.
    pub fn line(self) -> usize {
        self.height.val() * self.scale
    }
    /// Calls `pixel(x, y, coverage)` for every pixel that the character covers. A character that the font does not
    /// have is a box.
    pub fn glyph(self, c: char, mut pixel: impl FnMut(usize, usize, u8)) {
        let (w, h) = (get_raster_width(self.weight, self.height), self.height.val());
        let raster = get_raster(c, self.weight, self.height);
        let at = |x: usize, y: usize| match &raster {
            Some(raster) => raster.pixel(x, y).unwrap_or(0),
            None => boxed(x, y, w, h),
        };
        for y in 0..h * self.scale {
            for x in 0..w * self.scale {
                let covered = if self.scale == 1 { at(x, y) } else { smooth(&at, x, y, self.scale) };
                if covered > 0 {
                    pixel(x, y, covered);
                }
            }
        }
    }
}

/// The box that stands for a character without a glyph: an outline as high as a capital.
fn boxed(x: usize, y: usize, w: usize, h: usize) -> u8 {
    let (left, right, top, bottom) = (1, w.saturating_sub(2), h / 5, h - h / 4);
    let line = (h / 16).max(1);
    let inside = (left..=right).contains(&x) && (top..=bottom).contains(&y);
    let edge = x < left + line || x + line > right || y < top + line || y + line > bottom;
    if inside && edge { 170 } else { 0 }
}

/// An enlarged pixel, interpolated between the four around it.
fn smooth(at: &impl Fn(usize, usize) -> u8, x: usize, y: usize, scale: usize) -> u8 {
    let place = |v: usize| {
        let doubled = (2 * v + 1).saturating_sub(scale); // twice the source position, times the scale
        (doubled / (2 * scale), (doubled % (2 * scale)) as u32)
    };
    let ((x0, fx), (y0, fy)) = (place(x), place(y));
    let unit = 2 * scale as u32;
    let row = |y: usize| u32::from(at(x0, y)) * (unit - fx) + u32::from(at(x0 + 1, y)) * fx;
    ((row(y0) * (unit - fy) + row(y0 + 1) * fy) / (unit * unit)) as u8
}

/// Breaks text at its white space into at most `max_lines` lines of `columns` characters; longer words are cut, and
/// text that does not fit ends in dots. Reads no more of the text than it shows.
pub fn wrap(text: &str, columns: usize, max_lines: usize) -> Vec<String> {
    if columns == 0 || max_lines == 0 {
        return Vec::new();
    }
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    'words: for word in text.split_whitespace() {
        let mut rest = word.chars().flat_map(shown).peekable();
        while rest.peek().is_some() {
            let mut piece: Vec<char> = rest.by_ref().take(columns).collect();
            let used = lines.last().map_or(0, Vec::len);
            if used > 0 && used + 1 + piece.len() > columns {
                if lines.len() == max_lines {
                    dots(&mut lines, columns);
                    break 'words;
                }
                lines.push(Vec::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.append(&mut piece);
            }
        }
    }
    lines.into_iter().filter(|line| !line.is_empty()).map(String::from_iter).collect()
}

fn dots(lines: &mut [Vec<char>], columns: usize) {
    if let Some(last) = lines.last_mut() {
        last.truncate(columns.saturating_sub(3));
        last.extend("...".chars().take(columns));
    }
}

/// What is drawn for a character: typographic and full-width forms as the plain ones that the font has, nothing for
/// invisible ones.
fn shown(c: char) -> impl Iterator<Item = char> {
    let (c, times) = match c {
        '‘' | '’' | '‚' | '′' => ('\'', 1),
        '“' | '”' | '„' | '″' | '「' | '」' => ('"', 1),
        '‐'..='―' | '−' => ('-', 1),
        '、' => (',', 1),
        '。' => ('.', 1),
        '…' => ('.', 3),
        '\u{FF01}'..='\u{FF5E}' => (char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c), 1),
        '\u{300}'..='\u{36F}' | '\u{FE00}'..='\u{FE0F}' => (c, 0),
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' => (c, 0),
        _ if c.is_control() => (c, 0),
        _ => (c, 1),
    };
    std::iter::repeat_n(c, times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole_where_they_fit_and_cut_where_they_do_not() {
        assert_eq!(wrap("a red fox in snow", 9, 9), ["a red fox", "in snow"]);
        assert_eq!(wrap("aaaaaaaaaaaa b", 5, 9), ["aaaaa", "aaaaa", "aa b"]);
        assert_eq!(wrap("one two three four", 5, 2), ["one", "tw..."], "what is left out is told");
        assert_eq!(wrap(" \n\t ", 5, 2), Vec::<String>::new());
        assert_eq!(wrap("abcdef", 2, 1), [".."]);
    }

    #[test]
    fn typographic_forms_are_shown_as_plain_ones() {
        assert_eq!(wrap("“fox’s” – Ａ，…\u{200B}", 40, 1), ["\"fox's\" - A,..."]);
    }

    #[test]
    fn a_character_without_a_glyph_is_a_box() {
        for height in [RasterHeight::Size16, RasterHeight::Size32] {
            let covered = |c| {
                let mut pixels = 0;
                Face::new(height, FontWeight::Regular, 1).glyph(c, |_, _, _| pixels += 1);
                pixels
            };
            assert!(covered('狐') > 10 && covered('狐') == covered('🦊'));
            assert_ne!(covered('狐'), covered('A'));
        }
    }
}
