//! The adapter against a small server of the inference protocol, which really looks at the numbers that it gets.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

mod models;

use models::{Inference, Models};
use opencv::{
    core::{CV_8UC3, Mat, Rect, Scalar, Vector},
    imgcodecs, imgproc,
};
use processor_proto::v1::{
    Codec, Detection, Frame, FrameId, PixelFormat, ProcessRequest, frame::Content,
    processor_client::ProcessorClient,
};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Code, Status};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
fn free() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A running `processor kserve`; killed when dropped.
struct Adapter {
    child: Child,
    client: ProcessorClient<tonic::transport::Channel>,
    folder: TempDir,
}

fn command(folder: &Path, url: &str, model: &str, yaml: &str) -> Command {
    let config = folder.join("model.yaml");
    fs::write(&config, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_processor"));
    command
        .args([
            "kserve",
            "--url",
            url,
            "--model",
            model,
            "--listen",
            "127.0.0.1:0",
            "--config",
        ])
        .arg(config)
        .env_remove("RUST_LOG");
    command
}

impl Adapter {
    async fn start(url: &str, model: &str, yaml: &str, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let port_file = folder.path().join("port");
        let mut child = command(folder.path(), url, model, yaml)
            .args(more)
            .arg("--port-file")
            .arg(&port_file)
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let address = timeout(PATIENCE, async {
            loop {
                if let Ok(address) = fs::read_to_string(&port_file) {
                    return address;
                }
                assert!(child.try_wait().unwrap().is_none(), "it ended");
                tokio::time::sleep(Duration::from_millis(10)).await; // between two looks
            }
        });
        let address = address.await.unwrap();
        Self {
            client: ProcessorClient::connect(format!("http://{address}"))
                .await
                .unwrap(),
            child,
            folder,
        }
    }

    /// Waits until it has said so.
    async fn says(&self, words: &str) {
        let said = || fs::read_to_string(self.folder.path().join("log")).unwrap();
        let wait = async {
            while !said().contains(words) {
                tokio::time::sleep(Duration::from_millis(10)).await; // between two looks
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("{}", said()));
    }

    async fn detections(&self, frame: Frame) -> Result<Vec<Detection>, Status> {
        let request = ProcessRequest {
            frame: Some(frame),
            attempt: 1,
        };
        let answer = timeout(PATIENCE, self.client.clone().process(request))
            .await
            .unwrap()?;
        let result = answer.into_inner().result.unwrap();
        Ok(result.detections)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gray picture with a red rectangle in it.
fn picture(size: (i32, i32), red: Option<Rect>) -> Frame {
    let (width, height) = size;
    let mut mat =
        Mat::new_rows_cols_with_default(height, width, CV_8UC3, Scalar::all(90.0)).unwrap();
    if let Some(red) = red {
        let colour = Scalar::new(20.0, 20.0, 240.0, 0.0);
        imgproc::rectangle(&mut mat, red, colour, imgproc::FILLED, imgproc::LINE_8, 0).unwrap();
    }
    let mut png = Vector::new();
    imgcodecs::imencode(".png", &mat, &mut png, &Vector::new()).unwrap();
    Frame {
        id: Some(FrameId::new("cam0", 1, 0)),
        codec: Codec::Png.into(),
        pixel_format: PixelFormat::Bgr24.into(),
        width: width.unsigned_abs(),
        height: height.unsigned_abs(),
        content: Some(Content::Inline(Vec::from(png).into())),
        ..Frame::default()
    }
}

const PLANES: &str = "
input: {width: 128, height: 128, scale: 0.00392157}
boxes: {tensor: boxes}
scores: {tensor: scores}
labels: {tensor: classes}
names: [other, red thing]
";
const PIXELS: &str = "
input: {width: 128, height: 128, layout: nhwc, channels: bgr, datatype: uint8, fit: stretch}
boxes: {tensor: rows, form: yxyx, unit: fraction}
scores: {tensor: rows, first: 4}
overlap: 0.5
names: [other, red thing]
";

#[tokio::test]
async fn what_the_model_sees_lies_where_it_is_in_the_frame() {
    let inference = Inference::start(Models::default(), free());
    for (model, yaml, confidence) in [("red", PLANES, 0.75), ("red-pixels", PIXELS, 0.9)] {
        let adapter = Adapter::start(&inference.url(), model, yaml, &[]).await;
        for (size, red) in [
            ((640, 320), Rect::new(400, 40, 100, 200)),
            ((200, 400), Rect::new(20, 300, 60, 80)),
        ] {
            let found = adapter.detections(picture(size, Some(red))).await.unwrap();
            assert_eq!(found.len(), 1, "{model} {size:?}");
            assert_eq!(
                (found[0].label.as_str(), found[0].confidence),
                ("red thing", confidence)
            );
            let b = found[0].r#box.unwrap();
            // A pixel of the model is up to 5 of the frame.
            for (found, drawn) in [
                (b.x, red.x),
                (b.y, red.y),
                (b.width, red.width),
                (b.height, red.height),
            ] {
                assert!(
                    (found - drawn as f32).abs() <= 10.0,
                    "{model} {size:?}: {b:?}, drawn: {red:?}"
                );
            }
        }
        assert!(
            adapter
                .detections(picture((640, 320), None))
                .await
                .unwrap()
                .is_empty()
        );
    }
    inference.stop().await;
}

#[tokio::test]
async fn results_are_named_after_the_model_and_broken_pictures_never_reach_it() {
    let models = Models::default();
    let inference = Inference::start(models.clone(), free());
    let adapter = Adapter::start(&inference.url(), "red", PLANES, &["--admission", "7"]).await;
    let described = adapter
        .client
        .clone()
        .describe(processor_proto::v1::DescribeRequest {})
        .await;
    let described = described.unwrap().into_inner();
    assert_eq!(
        (described.name.as_str(), described.max_in_flight),
        ("red", 7)
    );
    let mut broken = picture((64, 64), None);
    broken.width = 65;
    assert_eq!(
        adapter.detections(broken).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(models.calls.load(SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_costs_time_and_no_frame() {
    let inference = Inference::start(Models::default(), free());
    let (address, url) = (inference.address, inference.url());
    let adapter = Adapter::start(&url, "red", PLANES, &[]).await;
    inference.stop().await;
    let red = Rect::new(10, 10, 30, 30);
    let waiting = adapter.detections(picture((128, 128), Some(red)));
    let again = async {
        adapter.says("the inference server is away").await;
        Inference::start(Models::default(), address)
    };
    let (found, _inference) = tokio::join!(waiting, again);
    assert_eq!(found.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_server_refuses_tells_the_broker_what_to_do() {
    let inference = Inference::start(Models::default(), free());
    for (status, ours) in [
        (Code::ResourceExhausted, Code::ResourceExhausted),
        (Code::InvalidArgument, Code::Internal),
    ] {
        let version = (status as i32).to_string();
        let yaml = "{input: {width: 8, height: 8}, scores: {tensor: any}}";
        let adapter = Adapter::start(
            &inference.url(),
            "moody",
            yaml,
            &["--model-version", &version],
        )
        .await;
        let error = adapter
            .detections(picture((64, 64), None))
            .await
            .unwrap_err();
        assert_eq!(error.code(), ours, "{error}");
        assert!(error.message().contains("moody"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_do_not_fit_the_model_end_with_2_and_say_why() {
    let inference = Inference::start(Models::default(), free());
    let url = inference.url();
    let size = PLANES.replace("width: 128", "width: 64");
    let cases = [
        (&url[..], "blue", PLANES, 2, "unknown model blue"),
        (&url, "red", &size, 2, "[1, 3, 128, 64]"),
        (&url, "red", PIXELS, 2, "takes FP32"),
        (&url, "red", "input: {}", 2, "model.yaml"),
        (
            &url,
            "red",
            &PLANES.replace("tensor: scores", "tensor: score"),
            2,
            "no output \"score\"",
        ),
        (
            &url,
            "red",
            &PLANES.replace("{width", "{name: pixels, width"),
            2,
            "no input \"pixels\"",
        ),
        ("ftp://127.0.0.1:8001", "red", PLANES, 2, "http://HOST:PORT"),
        ("http://127.0.0.1:1", "red", PLANES, 1, "start it first"),
    ];
    for (url, model, yaml, code, words) in cases {
        let folder = TempDir::new().unwrap();
        let mut command = command(folder.path(), url, model, yaml);
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
        let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(code), "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}
