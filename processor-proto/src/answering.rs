//! From the gRPC service to a [`Processor`]: checks the request, stamps the answer.

use std::time::Instant;

use futures::future::join_all;

use tonic::{Request, Response, Status};

use crate::{
    Processor,
    processor::Caller,
    v1::{
        self, BatchedOutcome, DescribeRequest, DescribeResponse, ProcessBatchRequest,
        ProcessBatchResponse, ProcessRequest, ProcessResponse, Refusal, batched_outcome::Outcome,
        frame::Content, processor_server,
    },
};

/// Serves a processor under a name.
pub(crate) struct Answering<P> {
    pub processor: P,
    pub name: String,
}

#[tonic::async_trait]
impl<P: Processor> processor_server::Processor for Answering<P> {
    async fn process(
        &self,
        request: Request<ProcessRequest>,
    ) -> Result<Response<ProcessResponse>, Status> {
        let caller = caller_of(&request);
        let answer = self.answer(caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    /// The frames side by side; each has its own outcome.
    async fn process_batch(
        &self,
        request: Request<ProcessBatchRequest>,
    ) -> Result<Response<ProcessBatchResponse>, Status> {
        let caller = caller_of(&request);
        let requests = request.into_inner().requests.into_iter();
        let outcomes = join_all(requests.map(|request| async move {
            let outcome = match self.answer(caller, request).await {
                Ok(response) => Outcome::Response(response),
                Err(status) => Outcome::Refusal(Refusal {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                }),
            };
            BatchedOutcome {
                outcome: Some(outcome),
            }
        }));
        Ok(Response::new(ProcessBatchResponse {
            outcomes: outcomes.await,
        }))
    }

    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            name: self.name.clone(),
            ..self.processor.describe()
        }))
    }
}

impl<P: Processor> Answering<P> {
    async fn answer(
        &self,
        caller: Caller,
        request: ProcessRequest,
    ) -> Result<ProcessResponse, Status> {
        let ProcessRequest { frame, attempt } = request;
        let frame = frame.ok_or_else(|| Status::invalid_argument("the request holds no frame"))?;
        check(&frame)?;
        let id = frame.id.clone();
        let started = Instant::now();
        let processed = self.processor.process_for(caller, frame).await?;
        let took = processed.took.unwrap_or_else(|| started.elapsed());
        let result = v1::Result {
            processor: self.name.clone(),
            version: self.processor.version().into(),
            status: v1::Status::Ok.into(),
            attempts: attempt.max(1),
            detections: processed.detections,
            attributes: processed.attributes,
            error: String::new(),
            timing: Some(v1::Timing {
                processing_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
                ..v1::Timing::default()
            }),
        };
        Ok(ProcessResponse {
            id,
            result: Some(result),
            picture: processed.picture,
        })
    }
}

fn caller_of<T>(request: &Request<T>) -> Caller {
    request.remote_addr().map(Caller::at).unwrap_or_default()
}

fn check(frame: &v1::Frame) -> Result<(), Status> {
    frame
        .check()
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    if let Some(Content::Reference(reference)) = &frame.content {
        return Err(Status::invalid_argument(format!(
            "the picture is a reference to {reference}: the caller must put the picture into the request"
        )));
    }
    Ok(())
}
