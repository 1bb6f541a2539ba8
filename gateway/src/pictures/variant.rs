//! What a viewer may ask of a picture.

use crate::shot::Shot;

/// Widths that pictures are made in. A viewer gets the next larger one: few variants, shared by many.
const WIDTHS: [u32; 7] = [160, 320, 480, 640, 960, 1280, 1920];

/// How a picture is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variant {
    /// At most so many pixels wide; one of [`WIDTHS`]. None: as it is.
    width: Option<u32>,
    /// With its results drawn in.
    overlay: bool,
}

/// No size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write the width in pixels, e.g. 640, or full")]
pub struct BadSize(String);

impl Variant {
    /// As it is.
    pub const ORIGINAL: Self = Self {
        width: None,
        overlay: false,
    };

    /// `size` is a width in pixels or `full`.
    pub fn parse(size: Option<&str>, overlay: bool) -> Result<Self, BadSize> {
        let width = match size {
            None | Some("full") => None,
            Some(text) => match text.parse::<u32>() {
                Ok(pixels) if pixels > 0 => WIDTHS.into_iter().find(|width| *width >= pixels),
                _ => return Err(BadSize(text.chars().take(20).collect())),
            },
        };
        Ok(Self { width, overlay })
    }

    pub fn width(self) -> Option<u32> {
        self.width
    }

    pub fn has_overlay(self) -> bool {
        self.overlay
    }

    /// The size of a picture of this one; never larger than it.
    pub fn size_of(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self.width {
            Some(wanted) if wanted < width => {
                let scaled = u64::from(height) * u64::from(wanted) / u64::from(width.max(1));
                (wanted, u32::try_from(scaled).unwrap_or(u32::MAX).max(1))
            }
            _ => (width, height),
        }
    }

    /// True if the record needs no work to be shown like this.
    pub fn leaves(self, shot: &Shot) -> bool {
        let Some(picture) = shot.picture() else {
            return true;
        };
        let size = (picture.width, picture.height);
        picture.media_type().is_some() && !self.overlay && self.size_of(size) == size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_few_variants() {
        let width = |size| Variant::parse(size, false).map(Variant::width);
        assert_eq!(width(None), Ok(None));
        assert_eq!(width(Some("full")), Ok(None));
        assert_eq!(width(Some("1")), Ok(Some(160)));
        assert_eq!(width(Some("641")), Ok(Some(960)));
        assert_eq!(
            width(Some("5000")),
            Ok(None),
            "larger than every variant: as it is"
        );
        for bad in ["0", "-1", "small", "", "99999999999"] {
            assert!(width(Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pictures_keep_their_shape_and_are_never_enlarged() {
        let half = Variant::parse(Some("640"), false).unwrap();
        assert_eq!(half.size_of((1280, 720)), (640, 360));
        assert_eq!(half.size_of((320, 240)), (320, 240));
        assert_eq!(half.size_of((100_000, 1)), (640, 1));
    }
}
