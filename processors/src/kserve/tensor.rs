//! Outputs of a model as numbers, whatever their type on the wire.

use super::inference::{
    InferTensorContents, ModelInferResponse, model_infer_response::InferOutputTensor,
};

/// One output. Its shape and its numbers agree.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<i64>,
    /// In row-major order. 32 bits are exact for every class number and every pixel.
    pub numbers: Vec<f32>,
}

impl Tensor {
    /// Rows and columns, without the batch of one around them.
    pub fn matrix(&self) -> Result<[usize; 2], String> {
        let mut shape = &self.shape[..];
        while let [1, rest @ ..] = shape {
            if rest.len() < 2 {
                break;
            }
            shape = rest;
        }
        match shape {
            [rows, columns] => Ok([rows, columns].map(|side| usize::try_from(*side).unwrap_or(0))),
            _ => Err(format!(
                "output {:?} has the shape {:?}, not that of rows and columns",
                self.name, self.shape
            )),
        }
    }
}

/// The outputs of a response. The error names the one that cannot be read.
pub fn outputs(response: ModelInferResponse) -> Result<Vec<Tensor>, String> {
    let ModelInferResponse {
        outputs,
        raw_output_contents: raw,
        ..
    } = response;
    if !raw.is_empty() && raw.len() != outputs.len() {
        return Err(format!(
            "{} outputs come with {} contents",
            outputs.len(),
            raw.len()
        ));
    }
    let mut raw = raw.into_iter();
    outputs
        .into_iter()
        .map(|output| tensor(output, raw.next().as_deref()))
        .collect()
}

fn tensor(output: InferOutputTensor, raw: Option<&[u8]>) -> Result<Tensor, String> {
    let InferOutputTensor {
        name,
        datatype,
        shape,
        contents,
    } = output;
    let unread = || {
        format!(
            "output {name:?} is of type {datatype}, which is not read here: export the model with FP32 outputs"
        )
    };
    let numbers = match raw {
        Some(raw) => from_raw(&datatype, raw).ok_or_else(unread)?,
        None => from_contents(&datatype, contents.unwrap_or_default()).ok_or_else(unread)?,
    };
    let expected = shape.iter().try_fold(1usize, |product, side| {
        product.checked_mul(usize::try_from(*side).ok()?)
    });
    if expected != Some(numbers.len()) {
        return Err(format!(
            "output {name:?} has {} numbers for the shape {shape:?}",
            numbers.len()
        ));
    }
    Ok(Tensor {
        name,
        shape,
        numbers,
    })
}

/// None for a type that is not known, or bytes that are no whole elements.
fn from_raw(datatype: &str, raw: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(raw: &[u8], number: impl Fn([u8; N]) -> f32) -> Option<Vec<f32>> {
        let (elements, rest) = raw.as_chunks::<N>();
        rest.is_empty()
            .then(|| elements.iter().map(|element| number(*element)).collect())
    }
    match datatype {
        "FP32" => each(raw, f32::from_le_bytes),
        "FP64" => each(raw, |bytes| f64::from_le_bytes(bytes) as f32),
        "INT8" => each(raw, |bytes| i8::from_le_bytes(bytes).into()),
        "INT16" => each(raw, |bytes| i16::from_le_bytes(bytes).into()),
        "INT32" => each(raw, |bytes| i32::from_le_bytes(bytes) as f32),
        "INT64" => each(raw, |bytes| i64::from_le_bytes(bytes) as f32),
        "UINT8" => each(raw, |bytes| u8::from_le_bytes(bytes).into()),
        "UINT16" => each(raw, |bytes| u16::from_le_bytes(bytes).into()),
        "UINT32" => each(raw, |bytes| u32::from_le_bytes(bytes) as f32),
        "UINT64" => each(raw, |bytes| u64::from_le_bytes(bytes) as f32),
        _ => None,
    }
}

fn from_contents(datatype: &str, contents: InferTensorContents) -> Option<Vec<f32>> {
    Some(match datatype {
        "FP32" => contents.fp32_contents,
        "FP64" => contents
            .fp64_contents
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        "INT8" | "INT16" | "INT32" => contents
            .int_contents
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        "INT64" => contents
            .int64_contents
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        "UINT8" | "UINT16" | "UINT32" => contents
            .uint_contents
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        "UINT64" => contents
            .uint64_contents
            .into_iter()
            .map(|n| n as f32)
            .collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(
        datatype: &str,
        shape: &[i64],
        contents: Option<InferTensorContents>,
    ) -> InferOutputTensor {
        InferOutputTensor {
            name: "out".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
        }
    }

    #[test]
    fn raw_and_typed_contents_mean_the_same() {
        let typed = InferTensorContents {
            int64_contents: vec![-3, 70_000],
            ..InferTensorContents::default()
        };
        let raw: Vec<u8> = [-3i64, 70_000]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        let raw = tensor(output("INT64", &[1, 2], None), Some(&raw)).unwrap();
        let typed = tensor(output("INT64", &[1, 2], Some(typed)), None).unwrap();
        assert_eq!(raw, typed);
        assert_eq!(raw.numbers, [-3.0, 70_000.0]);
    }

    #[test]
    fn a_batch_of_one_is_no_dimension() {
        for (shape, matrix) in [
            (&[1, 84, 10][..], Ok([84, 10])),
            (&[1, 1, 1, 6], Ok([1, 6])),
            (&[1, 6], Ok([1, 6])),
            (&[2, 3, 4], Err(())),
            (&[6], Err(())),
        ] {
            let tensor = Tensor {
                name: "out".into(),
                shape: shape.to_vec(),
                numbers: vec![],
            };
            assert_eq!(tensor.matrix().map_err(|_| ()), matrix, "{shape:?}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (datatype, shape, raw, words) in [
            ("FP32", &[2][..], &[0; 4][..], "1 numbers"),
            ("FP32", &[1], &[0; 3], "not read here"),
            ("FP16", &[1], &[0; 2], "FP16"),
            ("BYTES", &[1], &[0; 2], "BYTES"),
            ("UINT8", &[-1], &[0; 1], "[-1]"),
            ("UINT8", &[i64::MAX, i64::MAX, 4], &[0; 1], "shape"),
        ] {
            let error = tensor(output(datatype, shape, None), Some(raw)).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
        let response = ModelInferResponse {
            outputs: vec![output("UINT8", &[1], None)],
            raw_output_contents: vec![vec![0].into(), vec![0].into()],
            ..ModelInferResponse::default()
        };
        assert!(outputs(response).is_err());
    }
}
