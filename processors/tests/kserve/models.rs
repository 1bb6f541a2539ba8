//! A small server of the inference protocol, whose models find what is red.

use super::PATIENCE;
use processors::kserve::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    model_infer_response::InferOutputTensor,
    model_metadata_response::TensorMetadata,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

const SIDE: i64 = 128;

/// Finds what is red. `red`: FP32, planes of R, G and B from 0 to 1; raw outputs. `red-pixels`: UINT8, pixels of B, G and
/// R, one output of rows with a score for each of two classes, as typed contents. `moody` says the status of its version.
#[derive(Clone, Default)]
pub struct Models {
    pub calls: Arc<AtomicUsize>,
}

fn about(name: &str, datatype: &str, shape: &[i64]) -> TensorMetadata {
    TensorMetadata {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
    }
}

fn output(name: &str, datatype: &str, shape: &[i64]) -> InferOutputTensor {
    InferOutputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        contents: None,
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Models {
    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let (inputs, outputs) = match request.get_ref().name.as_str() {
            "red" => (
                vec![about("planes", "FP32", &[-1, 3, SIDE, SIDE])],
                vec![
                    about("boxes", "FP32", &[-1, -1, 4]),
                    about("scores", "FP32", &[-1, -1]),
                    about("classes", "INT64", &[-1, -1]),
                ],
            ),
            // The batch is left out, as some servers do.
            "red-pixels" => (vec![about("pixels", "UINT8", &[SIDE, SIDE, 3])], vec![]),
            "moody" => (vec![about("any", "FP32", &[-1, 3, -1, -1])], vec![]),
            other => return Err(Status::not_found(format!("unknown model {other}"))),
        };
        Ok(Response::new(ModelMetadataResponse {
            inputs,
            outputs,
            ..ModelMetadataResponse::default()
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        self.calls.fetch_add(1, SeqCst);
        let request = request.into_inner();
        let (input, bytes) = (&request.inputs[0], &request.raw_input_contents[0]);
        let mut response = ModelInferResponse {
            id: request.id.clone(),
            ..ModelInferResponse::default()
        };
        match request.model_name.as_str() {
            "red" => {
                assert_eq!(
                    (input.name.as_str(), &input.shape[..]),
                    ("planes", &[1, 3, SIDE, SIDE][..])
                );
                let wanted: Vec<&str> = request
                    .outputs
                    .iter()
                    .map(|output| output.name.as_str())
                    .collect();
                assert_eq!(wanted, ["boxes", "classes", "scores"]);
                let area = (SIDE * SIDE) as usize;
                let value =
                    |at: usize| f32::from_le_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap());
                let found = bounds(|at| {
                    value(at) > 0.7 && value(area + at) < 0.3 && value(2 * area + at) < 0.3
                });
                let count = found.len() as i64;
                response.outputs = vec![
                    output("boxes", "FP32", &[1, count, 4]),
                    output("scores", "FP32", &[1, count]),
                    output("classes", "INT64", &[1, count]),
                ];
                let boxes: Vec<u8> = found
                    .iter()
                    .flatten()
                    .flat_map(|n| n.to_le_bytes())
                    .collect();
                let scores: Vec<u8> = found.iter().flat_map(|_| 0.75f32.to_le_bytes()).collect();
                let classes: Vec<u8> = found.iter().flat_map(|_| 1i64.to_le_bytes()).collect();
                response.raw_output_contents = vec![boxes.into(), scores.into(), classes.into()];
            }
            "red-pixels" => {
                assert_eq!(
                    (input.datatype.as_str(), &input.shape[..]),
                    ("UINT8", &[1, SIDE, SIDE, 3][..])
                );
                let is_red = |at: usize| matches!(bytes[at * 3..at * 3 + 3], [b, g, r] if r > 180 && g < 80 && b < 80);
                let rows: Vec<f32> = bounds(is_red)
                    .iter()
                    .flat_map(|[left, top, right, bottom]| {
                        let part = |n: f32| n / SIDE as f32;
                        [
                            part(*top),
                            part(*left),
                            part(*bottom),
                            part(*right),
                            0.1,
                            0.9,
                        ]
                    })
                    .collect();
                let contents = InferTensorContents {
                    fp32_contents: rows.clone(),
                    ..InferTensorContents::default()
                };
                response.outputs = vec![InferOutputTensor {
                    contents: Some(contents),
                    ..output("rows", "FP32", &[1, rows.len() as i64 / 6, 6])
                }];
            }
            _ => {
                return Err(Status::new(
                    Code::from(request.model_version.parse::<i32>().unwrap()),
                    "moody",
                ));
            }
        }
        Ok(Response::new(response))
    }
}

/// The box around all pixels that are so, if there are any: left, top, right, bottom.
fn bounds(is: impl Fn(usize) -> bool) -> Vec<[f32; 4]> {
    let side = SIDE as usize;
    let places: Vec<(usize, usize)> = (0..side * side)
        .filter(|at| is(*at))
        .map(|at| (at % side, at / side))
        .collect();
    let span = |side: &dyn Fn(&(usize, usize)) -> usize| {
        let of = places.iter().map(side);
        Some((of.clone().min()? as f32, of.max()? as f32 + 1.0))
    };
    let (Some((left, right)), Some((top, bottom))) =
        (span(&|place| place.0), span(&|place| place.1))
    else {
        return vec![];
    };
    vec![[left, top, right, bottom]]
}

/// A running server of the protocol.
pub struct Inference {
    pub address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Inference {
    pub fn start(models: Models, listen: SocketAddr) -> Self {
        let incoming = TcpIncoming::bind(listen).unwrap();
        let address = incoming.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = Server::builder()
            .add_service(GrpcInferenceServiceServer::new(models))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            stop,
            served,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}
