//! How a model wants its pictures and what its outputs mean, from a YAML file.
//!
//! ```yaml
//! input:
//!   width: 640             # pixels that the model looks at
//!   height: 640
//!   layout: nchw           # or nhwc
//!   channels: rgb          # or bgr, gray
//!   datatype: fp32         # or uint8 (then without scale, mean and std)
//!   fit: letterbox         # keep the aspect ratio and fill up with gray; or stretch
//!   scale: 0.00392157      # value = (pixel * scale - mean) / std
//! boxes: {tensor: output0, count: 4, objects: columns, form: cxcywh}
//! scores: {tensor: output0, first: 4, objects: columns}   # several columns: one a class
//! threshold: 0.4
//! overlap: 0.5             # of boxes of the same class, the better one stays
//! names: [person, bicycle, car]
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

/// The longest side a model may ask for: 4096 x 4096 x 3 numbers are 200 MB.
const MAX_SIDE: u32 = 4096;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub input: Input,
    /// Where things are; none for a model that only says what the picture shows.
    pub boxes: Option<Boxes>,
    /// How sure the model is: one column, or one for each class.
    pub scores: Output,
    /// The classes as numbers, where the scores do not tell them.
    pub labels: Option<Output>,
    /// What is less sure is left out, 0 to 1.
    #[serde(default = "half")]
    pub threshold: f32,
    /// Of two boxes of a class that share more than this part of what they cover together, the better one stays. None:
    /// the model has done so itself.
    pub overlap: Option<f32>,
    /// The classes' names, by number; those without one are called by their number.
    #[serde(default)]
    pub names: Vec<String>,
}

/// What the model looks at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The tensor's name; by default the model's only input.
    pub name: Option<String>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    #[serde(default)]
    pub layout: Layout,
    #[serde(default)]
    pub channels: Colours,
    #[serde(default)]
    pub datatype: Datatype,
    #[serde(default)]
    pub fit: Fit,
    #[serde(default = "one")]
    pub scale: f32,
    /// One for each channel, or none for 0.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// One for each channel, or none for 1.
    #[serde(default)]
    pub std: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    #[default]
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Colours {
    #[default]
    Rgb,
    Bgr,
    Gray,
}

impl Colours {
    pub fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Datatype {
    #[default]
    Fp32,
    Uint8,
}

impl Datatype {
    /// As the protocol writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fp32 => "FP32",
            Self::Uint8 => "UINT8",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The aspect ratio stays; the rest is gray.
    #[default]
    Letterbox,
    /// The whole input is filled.
    Stretch,
}

/// Columns of an output, one row for each object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub tensor: String,
    /// The first column that belongs to it.
    #[serde(default)]
    pub first: usize,
    /// How many do; by default all from the first on.
    pub count: Option<usize>,
    #[serde(default)]
    pub objects: Objects,
}

/// How a tensor lists objects.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Objects {
    /// N x C: each row is one.
    #[default]
    Rows,
    /// C x N: each column is one.
    Columns,
}

/// Where things are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boxes {
    pub tensor: String,
    #[serde(default)]
    pub first: usize,
    /// Always 4; may be said.
    pub count: Option<usize>,
    #[serde(default)]
    pub objects: Objects,
    #[serde(default)]
    pub form: Form,
    #[serde(default)]
    pub unit: Unit,
}

impl Boxes {
    pub fn output(&self) -> Output {
        Output {
            tensor: self.tensor.clone(),
            first: self.first,
            count: Some(4),
            objects: self.objects,
        }
    }
}

/// What four numbers mean.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Left, top, right, bottom.
    #[default]
    Xyxy,
    /// Left, top, width, height.
    Xywh,
    /// Centre, width, height.
    Cxcywh,
    /// Top, left, bottom, right.
    Yxyx,
}

/// In what they are counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Pixels of the model's input.
    #[default]
    Pixels,
    /// Parts of the model's input, 0 to 1.
    Fraction,
}

fn half() -> f32 {
    0.5
}

fn one() -> f32 {
    1.0
}

/// Why a file describes no model. A configuration error.
#[derive(Debug, Error)]
pub enum ModelError {
    #[error("--config {}: cannot be read ({source}): give a YAML file that this user may read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("--config {}: {why}", path.display())]
    Wrong { path: PathBuf, why: String },
}

impl Model {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = fs::read_to_string(path).map_err(|source| ModelError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|why| ModelError::Wrong {
            path: path.to_owned(),
            why,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let model: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        model.check()?;
        Ok(model)
    }

    fn check(&self) -> Result<(), String> {
        let Input {
            width,
            height,
            channels,
            datatype,
            scale,
            mean,
            std,
            ..
        } = &self.input;
        for side in [width, height] {
            if !(1..=MAX_SIDE).contains(side) {
                return Err(format!(
                    "input: sides are 1 to {MAX_SIDE} pixels, not {side}"
                ));
            }
        }
        for (name, list) in [("mean", mean), ("std", std)] {
            if !list.is_empty() && list.len() != channels.count() {
                return Err(format!(
                    "input: {name} has {} numbers for {} channels",
                    list.len(),
                    channels.count()
                ));
            }
        }
        if std.iter().any(|std| !std.is_normal()) {
            return Err("input: std divides, so none of it can be 0".into());
        }
        let is_plain = *scale == 1.0 && mean.is_empty() && std.is_empty();
        if *datatype == Datatype::Uint8 && !is_plain {
            return Err("input: a uint8 model takes pixels as they are: leave scale, mean and std out, or say datatype: fp32".into());
        }
        if self
            .boxes
            .as_ref()
            .and_then(|boxes| boxes.count)
            .is_some_and(|count| count != 4)
        {
            return Err("boxes: a box has 4 numbers".into());
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(format!(
                "threshold {} is not within 0 and 1",
                self.threshold
            ));
        }
        match self.overlap {
            Some(overlap) if !(0.0..=1.0).contains(&overlap) => {
                Err(format!("overlap {overlap} is not within 0 and 1"))
            }
            Some(_) if self.boxes.is_none() => {
                Err("overlap: without boxes nothing overlaps".into())
            }
            _ => Ok(()),
        }
    }

    /// The outputs to ask for, each once.
    pub fn tensors(&self) -> Vec<&str> {
        let boxes = self.boxes.iter().map(|boxes| boxes.tensor.as_str());
        let labels = self.labels.iter().map(|labels| labels.tensor.as_str());
        let mut tensors: Vec<&str> = boxes
            .chain([self.scores.tensor.as_str()])
            .chain(labels)
            .collect();
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "
input: {width: 640, height: 480, channels: bgr, scale: 0.5, mean: [1, 2, 3], std: [4, 5, 6]}
boxes: {tensor: out, objects: columns, form: cxcywh, unit: fraction}
scores: {tensor: out, first: 4, objects: columns}
labels: {tensor: classes}
overlap: 0.4
names: [person, dog]
";

    #[test]
    fn a_whole_file_is_understood() {
        let model = Model::parse(WHOLE).unwrap();
        assert_eq!(
            (model.input.layout, model.input.fit),
            (Layout::Nchw, Fit::Letterbox)
        );
        assert_eq!(model.threshold, 0.5);
        assert_eq!(model.tensors(), ["classes", "out"]);
    }

    #[test]
    fn the_file_in_the_description_is_understood() {
        let lines = include_str!("config.rs").lines();
        let yaml: Vec<&str> = lines
            .skip_while(|line| *line != "//! ```yaml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| &line["//! ".len()..])
            .collect();
        let model = Model::parse(&yaml.join("\n")).unwrap();
        assert_eq!(model.names.len(), 3);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (from, to, named) in [
            ("width: 640", "width: 0", "sides"),
            ("width: 640", "width: 100000", "sides"),
            ("[1, 2, 3]", "[1, 2]", "mean"),
            ("[4, 5, 6]", "[4, 0, 6]", "std"),
            ("scale: 0.5", "scale: 0.5, datatype: uint8", "uint8"),
            ("unit: fraction", "unit: fraction, count: 5", "4 numbers"),
            ("overlap: 0.4", "overlap: 4", "overlap"),
            ("overlap: 0.4", "threshold: -1", "threshold"),
            ("names", "nams", "nams"),
            ("scores:", "scoers:", "sco"),
            ("height: 480", "heigth: 480", "height"),
        ] {
            let error = Model::parse(&WHOLE.replace(from, to)).expect_err(to);
            assert!(error.contains(named), "{to}: {error}");
        }
    }
}
