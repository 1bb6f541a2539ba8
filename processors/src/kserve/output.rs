//! From a model's outputs to detections.

use processor_proto::v1::{self, Detection};

use super::{
    config::{Boxes, Form, Model, Objects, Output, Unit},
    input::Placed,
    tensor::Tensor,
};

/// Detections of a frame at most: more are noise, and every one travels with the frame from here on.
const MAX_DETECTIONS: usize = 300;
/// Boxes that are compared with each other at most, the surest ones: the time grows with the square.
const MAX_CANDIDATES: usize = 2_000;

/// One thing, in pixels of the frame.
#[derive(Clone, Debug)]
struct Candidate {
    class: usize,
    score: f32,
    /// Left, top, right, bottom; none for what the whole picture shows.
    corners: Option<[f32; 4]>,
}

/// What the model saw. The error says which output is not as the configuration says.
pub fn detections(
    model: &Model,
    outputs: &[Tensor],
    placed: Placed,
    (width, height): (u32, u32),
) -> Result<Vec<Detection>, String> {
    let boxes = model.boxes.as_ref();
    let objects = match boxes {
        Some(boxes) => objects(boxes, tensor(outputs, &boxes.tensor)?)?,
        None => 1,
    };
    let scores = Columns::of(
        &model.scores,
        tensor(outputs, &model.scores.tensor)?,
        objects,
    )?;
    let labels = match &model.labels {
        Some(labels) => Some(Columns::of(
            labels,
            tensor(outputs, &labels.tensor)?,
            objects,
        )?),
        None => None,
    };
    let places = match boxes {
        Some(boxes) => {
            let output = boxes.output();
            Some((
                boxes,
                Columns::of(&output, tensor(outputs, &boxes.tensor)?, objects)?,
            ))
        }
        None => None,
    };
    let mut found = Vec::new();
    for object in 0..objects {
        let (best, score) = scores.best(object);
        let is_sure = score >= model.threshold;
        if !is_sure {
            continue; // NaN as well
        }
        let corners = places.as_ref().map(|(boxes, columns)| {
            let numbers = std::array::from_fn(|at| columns.at(object, at));
            in_frame(corners(boxes, model, numbers), placed, (width, height))
        });
        let is_seen = corners.is_none_or(|[left, top, right, bottom]| right > left && bottom > top);
        if !is_seen {
            continue; // beside the picture
        }
        let class = labels
            .as_ref()
            .map_or(best, |labels| labels.at(object, 0).max(0.0) as usize);
        found.push(Candidate {
            class,
            score,
            corners,
        });
    }
    // Ties by place, so that the same outputs always give the same answer.
    found.sort_by(|a, b| {
        let place = |c: &Candidate| c.corners.unwrap_or_default();
        b.score
            .total_cmp(&a.score)
            .then_with(|| place(a)[1].total_cmp(&place(b)[1]))
            .then_with(|| place(a)[0].total_cmp(&place(b)[0]))
    });
    if let Some(overlap) = model.overlap {
        found = without_overlaps(found, overlap);
    }
    found.truncate(MAX_DETECTIONS);
    Ok(found.into_iter().map(|one| detection(model, one)).collect())
}

fn tensor<'a>(outputs: &'a [Tensor], name: &str) -> Result<&'a Tensor, String> {
    outputs
        .iter()
        .find(|output| output.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            format!("the model gave no output {name:?}, but {names:?}")
        })
}

/// How many objects the tensor with the boxes lists.
fn objects(boxes: &Boxes, tensor: &Tensor) -> Result<usize, String> {
    let [rows, columns] = tensor.matrix()?;
    Ok(match boxes.objects {
        Objects::Rows => rows,
        Objects::Columns => columns,
    })
}

/// The columns of an output: numbers by object.
struct Columns<'a> {
    numbers: &'a [f32],
    first: usize,
    count: usize,
    /// From an object to the next, and from a column to the next.
    steps: (usize, usize),
}

impl<'a> Columns<'a> {
    fn of(output: &Output, tensor: &'a Tensor, objects: usize) -> Result<Self, String> {
        let numbers = &tensor.numbers;
        let there = numbers
            .len()
            .checked_div(objects)
            .unwrap_or(output.first + output.count.unwrap_or(1));
        if there * objects != numbers.len() {
            return Err(format!(
                "output {:?} has {} numbers, which do not share out over {objects} objects",
                tensor.name,
                numbers.len()
            ));
        }
        let count = output.count.unwrap_or(there.saturating_sub(output.first));
        if count == 0 || output.first + count > there {
            return Err(format!(
                "output {:?} has {there} columns, too few for {count} from column {} on",
                tensor.name, output.first
            ));
        }
        let steps = match output.objects {
            Objects::Rows => (there, 1),
            Objects::Columns => (1, objects),
        };
        Ok(Self {
            numbers,
            first: output.first,
            count,
            steps,
        })
    }

    fn at(&self, object: usize, column: usize) -> f32 {
        self.numbers[object * self.steps.0 + (self.first + column) * self.steps.1]
    }

    /// The column with the largest number, and that number.
    fn best(&self, object: usize) -> (usize, f32) {
        (0..self.count)
            .map(|column| (column, self.at(object, column)))
            .fold(
                (0, f32::NAN),
                |best, next| if best.1 >= next.1 { best } else { next },
            )
    }
}

/// Left, top, right and bottom in pixels of the model's input.
fn corners(boxes: &Boxes, model: &Model, [a, b, c, d]: [f32; 4]) -> [f32; 4] {
    let [left, top, right, bottom] = match boxes.form {
        Form::Xyxy => [a, b, c, d],
        Form::Yxyx => [b, a, d, c],
        Form::Xywh => [a, b, a + c, b + d],
        Form::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
    };
    let (x, y) = match boxes.unit {
        Unit::Pixels => (1.0, 1.0),
        Unit::Fraction => (model.input.width as f32, model.input.height as f32),
    };
    [left * x, top * y, right * x, bottom * y]
}

/// The same in pixels of the frame, as far as it is in it.
fn in_frame(
    [left, top, right, bottom]: [f32; 4],
    placed: Placed,
    (width, height): (u32, u32),
) -> [f32; 4] {
    let x = |x: f32| ((x - placed.left) / placed.scale_x).clamp(0.0, width as f32);
    let y = |y: f32| ((y - placed.top) / placed.scale_y).clamp(0.0, height as f32);
    [x(left), y(top), x(right), y(bottom)]
}

/// Of those that overlap and are of one class, the surest. The surest come first.
fn without_overlaps(mut found: Vec<Candidate>, overlap: f32) -> Vec<Candidate> {
    found.truncate(MAX_CANDIDATES);
    let mut kept: Vec<Candidate> = Vec::new();
    for one in found {
        let is_seen = kept.iter().any(|better| {
            better.class == one.class
                && shared(
                    &better.corners.unwrap_or_default(),
                    &one.corners.unwrap_or_default(),
                ) > overlap
        });
        if !is_seen {
            kept.push(one);
        }
    }
    kept
}

/// The shared area as a part of what both cover: 0 to 1.
fn shared(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = width * height;
    both / (area(a) + area(b) - both)
}

fn detection(model: &Model, one: Candidate) -> Detection {
    let name = model.names.get(one.class);
    let label = name.cloned().unwrap_or_else(|| one.class.to_string());
    Detection {
        r#box: one.corners.map(|[left, top, right, bottom]| v1::Box {
            x: left,
            y: top,
            width: right - left,
            height: bottom - top,
        }),
        label,
        confidence: one.score.min(1.0),
        ..Detection::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACED: Placed = Placed {
        scale_x: 0.5,
        scale_y: 0.5,
        left: 0.0,
        top: 10.0,
    };

    fn model(more: &str) -> Model {
        serde_saphyr::from_str(&format!("input: {{width: 100, height: 100}}\n{more}")).unwrap()
    }

    fn output(name: &str, shape: &[i64], numbers: &[f32]) -> Tensor {
        Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            numbers: numbers.to_vec(),
        }
    }

    /// Label, confidence and box of what is seen in a frame of 200 x 160 pixels.
    fn seen(model: &Model, outputs: &[Tensor]) -> Vec<(String, f32, [f32; 4])> {
        let found = detections(model, outputs, PLACED, (200, 160)).unwrap();
        let parts = |one: Detection| {
            let b = one.r#box.unwrap_or_default();
            (one.label, one.confidence, [b.x, b.y, b.width, b.height])
        };
        found.into_iter().map(parts).collect()
    }

    #[test]
    fn separate_outputs_lead_back_to_the_frame() {
        let model = model(
            "boxes: {tensor: b}\nscores: {tensor: s}\nlabels: {tensor: l}\nnames: [cat, dog]",
        );
        let outputs = [
            output("l", &[1, 3], &[1.0, 0.0, 7.0]),
            output("s", &[1, 3], &[0.6, 0.4, 0.9]),
            output(
                "b",
                &[1, 3, 4],
                &[
                    10.0, 20.0, 30.0, 50.0, 0.0, 0.0, 9.0, 9.0, 90.0, 80.0, 120.0, 99.0,
                ],
            ),
        ];
        assert_eq!(
            seen(&model, &outputs),
            [
                ("7".into(), 0.9, [180.0, 140.0, 20.0, 20.0]), // as far as it is in the frame
                ("dog".into(), 0.6, [20.0, 20.0, 40.0, 60.0]),
            ]
        );
    }

    #[test]
    fn one_output_with_objects_in_columns_and_a_score_for_each_class() {
        let model = model(
            "boxes: {tensor: o, objects: columns, form: cxcywh, unit: fraction}
scores: {tensor: o, first: 4, objects: columns}
overlap: 0.5
names: [cat, dog]",
        );
        // Two of one dog, the second surer; a cat at the same place.
        let columns = [
            [0.2, 0.3, 0.2, 0.2, 0.0, 0.7],
            [0.21, 0.3, 0.2, 0.2, 0.1, 0.8],
            [0.2, 0.3, 0.2, 0.2, 0.6, 0.1],
        ];
        let numbers: Vec<f32> = (0..6)
            .flat_map(|row| columns.map(|column| column[row]))
            .collect();
        let found = seen(&model, &[output("o", &[1, 6, 3], &numbers)]);
        let words: Vec<_> = found
            .iter()
            .map(|(label, score, _)| (label.as_str(), *score))
            .collect();
        assert_eq!(words, [("dog", 0.8), ("cat", 0.6)]);
    }

    #[test]
    fn a_model_without_boxes_says_what_the_picture_shows() {
        let model = model("scores: {tensor: s}\nnames: [day, night]\nthreshold: 0.3");
        let outputs = [output("s", &[1, 3], &[0.1, 0.8, 0.1])];
        let found = detections(&model, &outputs, PLACED, (200, 160)).unwrap();
        assert_eq!(
            (found[0].label.as_str(), found[0].confidence),
            ("night", 0.8)
        );
        assert_eq!((found.len(), found[0].r#box), (1, None));
    }

    #[test]
    fn nothing_seen_is_nothing_and_no_number_is_below_every_threshold() {
        let model = model("boxes: {tensor: b}\nscores: {tensor: s}\nthreshold: 0");
        let none = [output("b", &[1, 0, 4], &[]), output("s", &[1, 0], &[])];
        assert!(seen(&model, &none).is_empty());
        let nan = [
            output(
                "b",
                &[1, 2, 4],
                &[0.0, 20.0, 9.0, 29.0, f32::NAN, 0.0, 9.0, 9.0],
            ),
            output("s", &[1, 2], &[f32::NAN, 0.5]),
        ];
        assert!(seen(&model, &nan).is_empty());
    }

    #[test]
    fn outputs_that_are_not_as_the_file_says_are_named() {
        let model = model("boxes: {tensor: b}\nscores: {tensor: s, first: 1}");
        let boxes = || output("b", &[1, 2, 4], &[0.0; 8]);
        for (outputs, words) in [
            (vec![boxes()], "no output \"s\""),
            (
                vec![boxes(), output("s", &[1, 3], &[0.0; 3])],
                "share out over 2",
            ),
            (vec![boxes(), output("s", &[1, 2], &[0.0; 2])], "too few"),
            (
                vec![output("b", &[8], &[0.0; 8]), output("s", &[2], &[0.0; 2])],
                "[8]",
            ),
            (
                vec![
                    output("b", &[1, 4, 2], &[0.0; 8]),
                    output("s", &[4, 2], &[0.0; 8]),
                ],
                "too few",
            ),
        ] {
            let error = detections(&model, &outputs, PLACED, (200, 160)).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_travels_with_a_frame_is_bounded() {
        let model = model("boxes: {tensor: b}\nscores: {tensor: s}\noverlap: 1.0");
        let count = 5_000;
        let boxes: Vec<f32> = (0..count).flat_map(|_| [0.0, 20.0, 9.0, 29.0]).collect();
        let outputs = [
            output("b", &[1, count, 4], &boxes),
            output("s", &[1, count], &vec![0.9; count as usize]),
        ];
        assert_eq!(seen(&model, &outputs).len(), MAX_DETECTIONS);
    }
}
