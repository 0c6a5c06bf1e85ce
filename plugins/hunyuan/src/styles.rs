//! The looks that the models know by an id, and what they mean in English.

/// `Style` of SubmitHunyuanImageJob. For the other models the meaning goes into the prompt.
pub const NAMED: [(&str, &str); 18] = [
    ("riman", "Japanese anime style"),
    ("shuimo", "Chinese ink wash painting style"),
    ("monai", "Monet impressionist painting style"),
    ("bianping", "flat illustration style"),
    ("xiangsu", "pixel art style"),
    ("ertonghuiben", "children's picture book style"),
    ("3dxuanran", "3D rendering style"),
    ("manhua", "comic style"),
    ("heibaimanhua", "black and white comic style"),
    ("xieshi", "photorealistic style"),
    ("dongman", "animation style"),
    ("bijiasuo", "Picasso cubism style"),
    ("saibopengke", "cyberpunk style"),
    ("youhua", "oil painting style"),
    ("masaike", "mosaic style"),
    ("qinghuaci", "blue and white porcelain style"),
    ("xinnianjianzhi", "New Year paper-cut art style"),
    ("xinnianhuayi", "New Year floral art style"),
];

/// `Style` of the TextToImageLite of `hunyuan`; without one the vendor takes `201`. The ids are the contract's, the
/// meanings those of the vendor's older list for the same numbers.
pub const LITE: [(&str, &str); 26] = [
    ("201", "Japanese anime (the default)"),
    ("000", "no particular style"),
    ("101", "Chinese ink wash painting"),
    ("102", "concept art"),
    ("103", "oil painting"),
    ("104", "watercolour"),
    ("105", "pixel art"),
    ("106", "thick brush strokes"),
    ("107", "illustration"),
    ("108", "paper-cut art"),
    ("109", "impressionism after Monet"),
    ("110", "2.5D"),
    ("111", "classical portrait"),
    ("112", "black and white sketch"),
    ("113", "cyberpunk"),
    ("114", "science fiction"),
    ("115", "dark"),
    ("116", "3D"),
    ("117", "vaporwave"),
    ("118", "oil painting after van Gogh"),
    ("119", "impressionism"),
    ("202", "monsters"),
    ("203", "ancient Chinese beauty"),
    ("204", "retro anime"),
    ("301", "hand-drawn game cartoon"),
    ("401", "photorealistic"),
];

/// `Style` of TextToImageRapid, as the vendor's SDK (3.1.82) lists them.
pub const RAPID: [(&str, &str); 30] = [
    ("1", "Miyazaki animation"),
    ("2", "Makoto Shinkai animation"),
    ("3", "travel"),
    ("4", "watercolour"),
    ("5", "pixel art"),
    ("6", "fairy tale"),
    ("7", "quirky cartoon"),
    ("8", "cyberpunk"),
    ("9", "minimalist"),
    ("10", "retro"),
    ("11", "dark"),
    ("12", "pop art"),
    ("13", "candy colours"),
    ("14", "film photography"),
    ("15", "sketch"),
    ("16", "Chinese ink wash painting"),
    ("17", "oil painting"),
    ("18", "chalk"),
    ("19", "clay"),
    ("20", "felt"),
    ("21", "embroidery"),
    ("22", "coloured pencil"),
    ("23", "Monet"),
    ("24", "Picasso"),
    ("25", "Mucha"),
    ("26", "ancient Chinese anime"),
    ("27", "urban anime"),
    ("28", "suspense"),
    ("29", "campus"),
    ("30", "urban superpowers"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_there_once_and_every_one_has_a_whole_meaning() {
        for list in [&NAMED[..], &LITE[..], &RAPID[..]] {
            let ids: HashSet<&str> = list.iter().map(|(id, _)| *id).collect();
            assert_eq!(ids.len(), list.len());
            assert!(list.iter().all(|(_, meaning)| meaning.is_ascii() && meaning.len() >= 2));
        }
        assert!(NAMED.iter().all(|(_, meaning)| meaning.ends_with(" style")), "no bare last word");
    }
}
