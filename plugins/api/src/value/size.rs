use super::{BadValue, number_and_unit, text_value};
use std::{fmt, str::FromStr};

/// A number of bytes as the configuration spells it: `512B`, `16KiB`, `20MiB`, `2GiB` (and `kB`, `MB`, `GB` by thousands).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n << 10)
    }
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n << 20)
    }
    /// Bytes as a length in memory.
    pub fn as_usize(&self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<ByteSize, BadValue> {
        let bad = || BadValue(format!("`{text}` is not a size: write it like 512B, 16KiB, 20MiB or 2GiB"));
        let (number, unit) = number_and_unit(text);
        let (_, size) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        number.checked_mul(*size).map(ByteSize).ok_or_else(bad)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

text_value!(ByteSize, "^[0-9]+ ?([KMG]i?B|kB|B)$", "a size: 512B, 16KiB, 20MiB, 2GiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_the_same_way() {
        for (text, bytes) in
            [("512B", 512), ("16KiB", 16 << 10), ("20MiB", 20 << 20), ("2 GiB", 2 << 30), ("3kB", 3_000)]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_the_accepted_forms() {
        for text in ["20", "20 megabytes", "1.5MiB", "", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().unwrap_err().to_string().contains("20MiB"), "{text}");
        }
    }
}
