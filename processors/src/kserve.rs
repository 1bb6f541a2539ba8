//! Models on an inference server (Triton and others that speak the Open Inference Protocol) as a processor.
//!
//! ```text
//! frame -> decoded, fitted, scaled (a thread) -> ModelInfer -> outputs read, led back to the frame (a thread)
//! ```

pub mod config;
mod input;
mod output;
mod tensor;

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use processor_proto::{
    ProcessError, Processed, Processor, reason,
    v1::{DescribeResponse, Detection, Frame},
};
use thiserror::Error;
use tokio::sync::Semaphore;
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{kserve::config::Model, opencv_error::failed, picture::Decoder};
use inference::{
    ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use input::Placed;

/// The protocol's messages, generated from `proto/inference.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// A model's answer at most: far above 8400 boxes of 80 classes, and a bound on what a server can make us take.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// A server is asked again after this, while the caller's deadline lasts.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// At the start, the server must have answered by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which model to ask, where.
#[derive(Clone, Debug)]
pub struct Server {
    pub url: String,
    pub model: String,
    /// None: the server chooses.
    pub version: Option<String>,
}

/// Why a model cannot be asked.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error(
        "--url {url}: {why}; write http://HOST:PORT or https://HOST:PORT of the server's gRPC port"
    )]
    Url { url: String, why: String },
    #[error("the server at {url} says of model {model:?}: {why}")]
    Model {
        url: String,
        model: String,
        why: String,
    },
    #[error(
        "the server at {url} cannot be asked: {why}; start it first, and give its gRPC port (Triton's is 8001), with https:// \
         only if it speaks TLS"
    )]
    NoAnswer { url: String, why: String },
}

impl ConnectError {
    /// Whether the settings must change.
    pub fn is_setting(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. })
    }
}

/// Asks one model.
pub struct Kserve {
    server: Server,
    model: Arc<Model>,
    /// The input's name.
    input: String,
    client: GrpcInferenceServiceClient<Channel>,
    /// Said once, not by every call that waits.
    is_away: AtomicBool,
    decoder: Decoder,
    admission: Semaphore,
    admitted_at_most: usize,
    /// What keeps a core busy: decoding and reading outputs.
    threads: Arc<Semaphore>,
}

impl Kserve {
    /// Asks the server for the model, and compares it with the description. Waits some seconds for an answer.
    pub async fn connect(
        server: Server,
        model: Model,
        decoder: Decoder,
        threads: NonZeroUsize,
        admission: NonZeroUsize,
    ) -> Result<Self, ConnectError> {
        let mut client = GrpcInferenceServiceClient::new(channel(&server.url)?)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let metadata = metadata(&mut client, &server).await?;
        let input = input_name(&model, &metadata).map_err(|why| ConnectError::Model {
            url: server.url.clone(),
            model: server.model.clone(),
            why,
        })?;
        Ok(Self {
            server,
            model: Arc::new(model),
            input,
            client,
            is_away: AtomicBool::new(false),
            decoder,
            admission: Semaphore::new(admission.get()),
            admitted_at_most: admission.get(),
            threads: Arc::new(Semaphore::new(threads.get())),
        })
    }

    /// Work that keeps a core busy, off the runtime, on as many threads as there may be.
    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
    ) -> Result<T, ProcessError> {
        let threads = Arc::clone(&self.threads);
        let thread = threads.acquire_owned().await.expect("never closed");
        let work = move || {
            let done = work();
            drop(thread); // even if nobody waits for it any more
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(ProcessError::Failed(error.to_string())))
    }

    fn request(&self, id: String, numbers: Vec<u8>) -> ModelInferRequest {
        let name = |name: &str| InferRequestedOutputTensor { name: name.into() };
        ModelInferRequest {
            model_name: self.server.model.clone(),
            model_version: self.server.version.clone().unwrap_or_default(),
            id,
            inputs: vec![InferInputTensor {
                name: self.input.clone(),
                datatype: self.model.input.datatype.word().into(),
                shape: input::shape(&self.model.input),
            }],
            outputs: self.model.tensors().into_iter().map(name).collect(),
            raw_input_contents: vec![Bytes::from(numbers)],
        }
    }

    /// Asks until the server answers: one that is away is waited for until the caller's deadline drops this.
    async fn infer(&self, request: ModelInferRequest) -> Result<Vec<tensor::Tensor>, ProcessError> {
        loop {
            let answer = self.client.clone().model_infer(request.clone()).await;
            let status = match answer {
                Ok(answer) => {
                    if self.is_away.swap(false, Ordering::Relaxed) {
                        tracing::info!(url = self.server.url, "the inference server is back");
                    }
                    return tensor::outputs(answer.into_inner()).map_err(ProcessError::Failed);
                }
                Err(status) => status,
            };
            match status.code() {
                Code::Unavailable => {
                    if !self.is_away.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            url = self.server.url,
                            cause = reason(&status),
                            "the inference server is away; asking again"
                        );
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Code::ResourceExhausted => return Err(ProcessError::Busy(told(&status))),
                _ => return Err(ProcessError::Failed(told(&status))),
            }
        }
    }
}

impl Processor for Kserve {
    fn name(&self) -> &str {
        &self.server.model
    }

    fn version(&self) -> &str {
        self.server.version.as_deref().unwrap_or("unversioned")
    }

    fn describe(&self) -> DescribeResponse {
        DescribeResponse {
            name: self.name().into(),
            version: self.version().into(),
            max_in_flight: u32::try_from(self.admitted_at_most).unwrap_or(u32::MAX),
            needs_pixels: true,
            ..DescribeResponse::default()
        }
    }

    async fn process(&self, frame: Frame) -> Result<Processed, ProcessError> {
        let _place = self.admission.try_acquire().map_err(|_| {
            ProcessError::Busy(format!(
                "{} calls are waiting or running here already",
                self.admitted_at_most
            ))
        })?;
        let size = (frame.width, frame.height);
        let id = frame
            .id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (model, decoder) = (Arc::clone(&self.model), self.decoder);
        let (numbers, placed) = self
            .on_thread(move || prepare(&model, &decoder, &frame))
            .await?;
        let outputs = self.infer(self.request(id, numbers)).await?;
        let model = Arc::clone(&self.model);
        let read = move || read(&model, &outputs, placed, size);
        Ok(Processed::nothing().detections(self.on_thread(read).await?))
    }
}

fn prepare(
    model: &Model,
    decoder: &Decoder,
    frame: &Frame,
) -> Result<(Vec<u8>, Placed), ProcessError> {
    let size = (frame.width, frame.height);
    let reduce = input::reduce(&model.input, size);
    let picture = decoder.decode(frame, input::channels(&model.input), reduce)?;
    input::tensor(&model.input, &picture, size).map_err(failed)
}

fn read(
    model: &Model,
    outputs: &[tensor::Tensor],
    placed: Placed,
    size: (u32, u32),
) -> Result<Vec<Detection>, ProcessError> {
    let wrong = |why| ProcessError::Failed(format!("--config does not fit the model: {why}"));
    output::detections(model, outputs, placed, size).map_err(wrong)
}

fn channel(url: &str) -> Result<Channel, ConnectError> {
    let wrong = |why: String| ConnectError::Url {
        url: url.into(),
        why,
    };
    let endpoint =
        Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") => endpoint,
        Some("https") => endpoint
            .tls_config(ClientTlsConfig::new().with_native_roots())
            .map_err(|error| wrong(error.to_string()))?,
        _ => return Err(wrong("neither http:// nor https://".into())),
    };
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(5));
    Ok(endpoint.connect_lazy())
}

/// What the server says of the model.
async fn metadata(
    client: &mut GrpcInferenceServiceClient<Channel>,
    server: &Server,
) -> Result<ModelMetadataResponse, ConnectError> {
    let request = ModelMetadataRequest {
        name: server.model.clone(),
        version: server.version.clone().unwrap_or_default(),
    };
    let mut cause = format!("nothing within {} s", PATIENCE.as_secs());
    let asking = async {
        let mut is_told = false;
        loop {
            match client.model_metadata(request.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unavailable => {
                    cause = reason(&status);
                    if !is_told {
                        tracing::info!(url = server.url, cause, "waiting for the inference server");
                        is_told = true;
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(status) => {
                    let why = match status.code() {
                        Code::Unimplemented => {
                            "it is no server of the KServe v2 protocol".to_owned()
                        }
                        _ => told(&status),
                    };
                    return Err(ConnectError::Model {
                        url: server.url.clone(),
                        model: server.model.clone(),
                        why,
                    });
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(ConnectError::NoAnswer {
            url: server.url.clone(),
            why: cause,
        }),
    }
}

/// The name of the input, if the model is the one that the description describes.
fn input_name(model: &Model, metadata: &ModelMetadataResponse) -> Result<String, String> {
    let names = |tensors: &[inference::model_metadata_response::TensorMetadata]| {
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.join(", ")
    };
    let input = match (&model.input.name, &metadata.inputs[..]) {
        (None, [only]) => only,
        (None, inputs) => {
            return Err(format!(
                "its inputs are {}: say in --config which takes the picture (input: name)",
                names(inputs)
            ));
        }
        (Some(name), inputs) => inputs
            .iter()
            .find(|input| input.name == *name)
            .ok_or_else(|| format!("it has no input {name:?}, but {}", names(inputs)))?,
    };
    let (ours, theirs) = (model.input.datatype.word(), &input.datatype);
    if ours != theirs {
        return Err(format!(
            "its input {:?} takes {theirs}, --config says {ours} (input: datatype)",
            input.name
        ));
    }
    let shape = input::shape(&model.input);
    let fits = |theirs: &[i64]| {
        let fits = |(ours, theirs): (&i64, &i64)| *theirs == -1 || ours == theirs;
        theirs.len() == shape.len() && shape.iter().zip(theirs).all(fits)
    };
    // Some servers leave the batch out.
    if !fits(&input.shape) && !fits(&[&[1], &input.shape[..]].concat()) {
        return Err(format!(
            "its input {:?} has the shape {:?}, --config makes {shape:?} (input: width, height, layout, channels)",
            input.name, input.shape
        ));
    }
    let is_output = |name: &&str| metadata.outputs.iter().any(|output| output.name == **name);
    if !metadata.outputs.is_empty()
        && let Some(missing) = model.tensors().into_iter().find(|name| !is_output(name))
    {
        return Err(format!(
            "it has no output {missing:?}, but {}",
            names(&metadata.outputs)
        ));
    }
    Ok(input.name.clone())
}

fn told(status: &Status) -> String {
    format!("{}: {}", status.code().description(), status.message())
}
