//! The command line.

use crate::monitor::ActionSpec;
use crate::range::{Begin, Rate, Until};
use crate::sinks::{ReportSpec, SinkSpec};
use crate::track::ContentMode;
use pipeline::kafka::KafkaArgs;
use pipeline::service::TelemetryArgs;
use registry::RegistryArgs;
use registry::model::Name;
use std::time::Duration;

const AFTER_HELP: &str = r#"Examples:
  consumer --topic cam0 --sink window                            watch live, disturbing nobody
  consumer --topic cam0.faces --until end --sink video:out.mp4   what is there so far, with results drawn
  consumer --topic cam0.faces --group archive --sink jpeg:out --sink jsonl:out.jsonl
  consumer --topic cam0.people --group track1 --track --output cam0.tracks
  consumer --topic cam0.people --group door --for 2s --cooldown 30s --do webhook:http://HOST/door \
      --when 'results.exists(r, r.detections.exists(d, d.label == "person" && d.confidence > 0.6))'
  consumer --topic cam0.people --until end --report html:report.html
  consumer --managed --name monitor1                             what the registry assigns to it

Sinks (--sink, repeatable; every sink sees every record in the same order):
  window      the pictures with their results; q or Esc quits (needs a display)
  jpeg:DIR    Frame00001.jpg, Frame00002.jpg, ... the original pictures, or with --overlay the results drawn
  video:FILE  .mp4 or .avi with the results drawn. The frames wait in FILE.spool; FILE itself is made when the consumer
              ends, so a killed consumer leaves no torn video. With --group the spool stays, for a later run to go on
  jsonl:FILE  a JSON line a record, without pixels; - is stdout
  stats       a line a second and a summary at the end; stats:FILE also writes the summary as JSON
  null        takes records and does nothing
With --when, window, jpeg:, video: and jsonl: take only the frames that it lets through; stats counts all.
A frame without a picture (gap, expired, undecodable) is shown as a picture that says why.

Conditions (--when) are written in CEL (https://cel.dev). Variables: what a line of jsonl: has, e.g. source, sequence, width,
labels, and results: a list of processor, status, attributes, error and detections (label, confidence, box, track_id, text).
  results.exists(r, r.detections.exists(d, d.track_id == 7))
  results.exists(r, r.processor == "people" && r.detections.size() > 3)
  results.exists(r, has(r.attributes.zone) && r.attributes.zone == "door")

Actions (--do, repeatable; every one is given every alert, one after the other):
  exec:COMMAND  run by sh, with the alert as a JSON line on stdin, and the picture in the file $FRAMELANE_PICTURE, which is
                removed afterwards. Exit code 0 is done
  webhook:URL   a POST request with the alert as JSON; the header Idempotency-Key is the frame's id. 2xx is done
  jsonl:FILE    the alert as a JSON line
  topic:NAME    the frame with one more result on it (monitor), as a record that every tool reads; needs --group
What was not done is tried again for 2 minutes; then the consumer ends, and started again goes on with the same alert. So
with --group none is lost: exec and webhook may be given one again after a crash, with the same id; jsonl and topic never.

With --group, progress is committed only after the sinks have everything on disk, and each sink keeps its own progress
beside its output (*.framelane-progress.json). The same command started again, also after kill -9, goes on where the
output ends: nothing is missing, nothing is there twice. Without --group nothing is committed and nothing is kept.

Exit codes: 0 done, 1 failed while running, 2 wrong settings."#;

/// Follow or replay topics of frames into any number of sinks, in order.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "consumer", version, after_help = AFTER_HELP)]
pub struct Args {
    /// A topic to read, or a pattern of topics that begins with ^ (e.g. '^cam[0-9]+$'); repeatable. With --group, topics
    /// that come to match a pattern later are read too
    #[arg(
        long = "topic",
        required_unless_present = "managed",
        value_name = "NAME|^REGEX"
    )]
    pub topics: Vec<String>,

    /// Read as a member of this consumer group, which remembers progress. Without it: read alone, commit nothing
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,

    /// A fixed name in the group: after kill -9 a consumer of the same name gets its partitions back at once instead of
    /// after the session timeout (6 s)
    #[arg(long, value_name = "NAME", requires = "group")]
    pub instance: Option<String>,

    /// Where to begin: earliest, latest, committed, offset:N or time:RFC3339. With --group only for partitions of which
    /// the group has no progress; it otherwise goes on from that. Default: committed with --group (else earliest),
    /// earliest with --until, else latest
    #[arg(long, value_name = "WHERE")]
    pub from: Option<Begin>,

    /// Where to end: end (what is committed now), eos (every source seen has ended), offset:N or time:RFC3339 (of each
    /// partition; that record is not shown), count:N (records in all). Default: when stopped
    #[arg(long, value_name = "WHERE")]
    pub until: Option<Until>,

    /// How fast: max, or relative to the capture: 1x, 2x, 0.5x
    #[arg(long, default_value = "max", value_name = "RATE")]
    pub rate: Rate,

    /// Where the records go; repeatable, see below
    #[arg(long = "sink", default_value = "stats", value_name = "SINK")]
    pub sinks: Vec<SinkSpec>,

    /// Replace output that is there already. Output that this group has progress in is always continued, never replaced
    #[arg(long)]
    pub overwrite: bool,

    /// Draw the results into the pictures of jpeg: too
    #[arg(long)]
    pub overlay: bool,

    /// Frames a second of video: [default: as captured]
    #[arg(long, value_name = "FPS", value_parser = positive)]
    pub fps: Option<f64>,

    /// Restore the order of a source that was spread over partitions, from its sequence numbers. Topics that hold frames of
    /// one source (the outputs of stages, say) need a consumer each
    #[arg(long)]
    pub reorder: bool,

    /// Records of a source that wait for an earlier one, at most, for each partition; then it is given up as lost
    #[arg(long, default_value_t = 256, value_name = "COUNT", requires = "reorder", value_parser = clap::value_parser!(u32).range(1..))]
    pub reorder_window: u32,

    /// How long records wait for an earlier one, at most, once everything that is in the partitions has been read
    #[arg(long, default_value = "2s", value_name = "TIME", requires = "reorder", value_parser = humantime::parse_duration)]
    pub reorder_time: Duration,

    /// Follow the objects in the frames' results: each gets a track id that is its own within the source and epoch, and
    /// every sink sees it. With --group the tracks survive: killed at any instant and started again, the consumer gives
    /// the same ids as if it had never died. Not with --reorder: a tracked source lies in one partition
    #[arg(long, conflicts_with = "reorder", help_heading = "Tracking")]
    pub track: bool,

    /// Write the tracked frames to this topic too, exactly once; made if it does not exist. A topic for each group: two that
    /// write into one double its frames
    #[arg(long, value_name = "TOPIC", requires_all = ["track", "group"], help_heading = "Tracking")]
    pub output: Option<String>,

    /// What the frames in --output hold of their pictures
    #[arg(
        long,
        value_enum,
        default_value = "reference",
        requires = "output",
        help_heading = "Tracking"
    )]
    pub content: ContentMode,

    /// Let through only frames for which this is true: a condition in CEL about their results, see below. It is told for
    /// every frame of a source in turn
    #[arg(long, value_name = "CONDITION", help_heading = "Monitoring")]
    pub when: Option<String>,

    /// ... and only when it has been true at every frame for this long, by the frames' own times: the same frames pass in
    /// every replay. Frames further apart than 10 s (or than this, if it is longer) say nothing of the time between. From then
    /// on every frame passes, unless --cooldown says otherwise
    #[arg(
        long = "for",
        default_value = "0s",
        requires = "when",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        help_heading = "Monitoring"
    )]
    pub hold: Duration,

    /// ... and not sooner than this after the last frame of the same source that passed, by the frames' own times. With
    /// none of both, every frame at which the condition is true passes
    #[arg(
        long,
        default_value = "0s",
        requires = "when",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        help_heading = "Monitoring"
    )]
    pub cooldown: Duration,

    /// What to do with each frame that passes; repeatable, see below
    #[arg(
        long = "do",
        requires = "when",
        value_name = "ACTION",
        help_heading = "Monitoring"
    )]
    pub actions: Vec<ActionSpec>,

    /// Make a page of pictures and plots of all that was read: html:FILE. One file that needs nothing else. Made anew every
    /// 10 s, and when the consumer ends
    #[arg(long, value_name = "html:FILE", help_heading = "Monitoring")]
    pub report: Option<ReportSpec>,

    /// Check the frame id that producer --pattern draws into each picture; exit with 1 if one does not fit
    #[arg(long)]
    pub verify_picture: bool,

    /// Who says what is read
    #[command(flatten)]
    pub managed: ManagedArgs,

    /// Where Kafka is
    #[command(flatten)]
    pub kafka: KafkaArgs,

    /// What to tell the outside
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Options that are declared elsewhere.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Managed")]
pub struct ManagedArgs {
    /// Follow the registry: read the sources that it assigns to this consumer, into the sinks and with the options that it
    /// declares, and change over while running
    #[arg(long, requires = "name", conflicts_with_all = DECLARED)]
    pub managed: bool,

    /// The consumer's name in the registry. Its group is REGISTRY/consumer.NAME: several of a name share the work
    #[arg(long, value_name = "NAME", requires = "managed")]
    pub name: Option<Name>,

    /// Run exec: actions that the registry declares: whoever may write it then runs commands here, as this consumer's user.
    /// Without it a declaration that has some is refused
    #[arg(long, requires = "managed")]
    pub allow_exec: bool,

    /// Where the registry is
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// What the registry says for a managed consumer.
const DECLARED: [&str; 22] = [
    "topics",
    "group",
    "instance",
    "from",
    "until",
    "rate",
    "sinks",
    "overwrite",
    "overlay",
    "fps",
    "reorder",
    "reorder_window",
    "reorder_time",
    "track",
    "output",
    "content",
    "when",
    "hold",
    "cooldown",
    "actions",
    "report",
    "verify_picture",
];

fn positive(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|fps| fps.is_finite() && *fps > 0.0 && *fps <= 1000.0)
        .ok_or_else(|| "expected a number above 0, at most 1000".to_owned())
}
