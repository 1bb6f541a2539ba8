//! Where Kafka is and how every client of ours is set up. Each number has its reason here.

use super::security::{Security, SecurityArgs};
use super::{GroupMember, KafkaFault, Membership};
use processor_proto::MAX_RECORD_BYTES;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use std::time::Duration;

/// Records of one partition that are sure to go in one request, whatever the client adds to them.
pub const MAX_REQUEST_BYTES: usize = MAX_RECORD_BYTES - (256 << 10);

/// What handing a batch to the client may take; whoever waits for the batch flushes it, which ends the lingering.
const BATCH_LINGER: Duration = Duration::from_millis(1);

/// Command-line options of everything that talks to Kafka.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Addresses of the Kafka nodes, comma-separated
    #[arg(
        long,
        env = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "localhost:9092",
        value_name = "HOST:PORT,..."
    )]
    pub bootstrap_servers: String,
    #[command(flatten)]
    pub security: SecurityArgs,
}

/// A validated way to reach Kafka.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    bootstrap_servers: String,
    security: Security,
}

impl TryFrom<KafkaArgs> for KafkaConfig {
    type Error = KafkaFault;

    fn try_from(args: KafkaArgs) -> Result<Self, KafkaFault> {
        let security = args.security.try_into()?;
        Ok(Self {
            security,
            ..Self::new(&args.bootstrap_servers)?
        })
    }
}

impl KafkaConfig {
    /// The plain way, without encryption or login. Checks that every address has the form `host:port`.
    pub fn new(bootstrap_servers: &str) -> Result<Self, KafkaFault> {
        for address in bootstrap_servers.split(',') {
            let port = address.trim().rsplit_once(':').map(|(_, port)| port);
            if port.is_none_or(|port| port.parse::<u16>().is_err()) {
                return Err(KafkaFault::BadAddress(address.trim().to_owned()));
            }
        }
        Ok(Self {
            bootstrap_servers: bootstrap_servers.to_owned(),
            security: Security::default(),
        })
    }

    /// The addresses, for messages and for child processes.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    pub(super) fn security(&self) -> &Security {
        &self.security
    }

    /// What every client has in common.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "framelane")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            // Small requests (heartbeats, commits, single frames) must not wait for more data to come.
            .set("socket.nagle.disable", "true")
            // A new topic, or a partition's new leader, is found within seconds rather than five minutes.
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "10000") // see `forgotten`
            .set_log_level(RDKafkaLogLevel::Warning);
        self.security.apply(&mut config);
        config
    }

    /// A consumer. Offsets are only ever committed by us; only committed transactions are seen.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // Start positions are always explicit. A position that retention has overtaken is reported, not skipped.
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100")
            // Of one partition in one answer; a larger record comes alone.
            .set("fetch.message.max.bytes", "2097152")
            .set("fetch.max.bytes", (4 * MAX_RECORD_BYTES).to_string())
            .set(
                "receive.message.max.bytes",
                (5 * MAX_RECORD_BYTES).to_string(),
            )
            // Prefetch per partition: enough to hide a fetch round trip at 100 KB a frame, small enough to count.
            .set("queued.min.messages", "100")
            .set("queued.max.messages.kbytes", "4096")
            // The default of one second would stall a partition that long whenever its prefetch queue was full.
            .set("fetch.queue.backoff.ms", "5");
        config
    }

    /// A member of a consumer group.
    ///
    /// Classic protocol with cooperative-sticky assignment: partitions that stay are not disturbed by a rebalance.
    pub(super) fn group_consumer(&self, member: &GroupMember) -> ClientConfig {
        let GroupMember {
            group,
            membership,
            session_timeout,
            finishing,
        } = member;
        // So long a rebalance waits for a member that is silent. With the client's default of five minutes a group once stood
        // still for as long, after a node that was killed had come back (docs/faults.md, "Which Kafka").
        let rebalance = (*finishing + Duration::from_secs(60)).max(*session_timeout);
        let mut config = self.consumer();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                session_timeout.as_millis().to_string(),
            )
            .set(
                "heartbeat.interval.ms",
                (session_timeout.as_millis() / 4).to_string(),
            )
            .set("max.poll.interval.ms", rebalance.as_millis().to_string());
        if let Membership::Static(name) = membership {
            config.set("group.instance.id", name);
        }
        config
    }

    /// A producer whose retries neither double nor reorder records. Each record is sent at once, with all others of its
    /// partition that wait for the answer before.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.idempotent_producer();
        // With several requests on their way, one that Kafka refuses for a moment lets it refuse the next as out of order:
        // librdkafka 2.12 then begins a new producer epoch, in which it writes again whatever has no answer yet, of any
        // partition, and Kafka cannot know the copies (its issue 4953).
        config.set("max.in.flight.requests.per.connection", "1");
        config
    }

    fn idempotent_producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "none") // JPEG and PNG do not compress
            // The Java clients' partitioner, so that any tool finds the partition of a source id.
            .set("partitioner", "murmur2_random")
            // Frames are large: waiting to batch them only adds latency.
            .set("linger.ms", "0")
            .set("queue.buffering.max.kbytes", "131072")
            .set("batch.size", MAX_RECORD_BYTES.to_string());
        config
    }

    /// A producer of batches: of records that are handed over together and then flushed. For transactions, and for records
    /// that may be written twice.
    ///
    /// A partition's part should be one request: while an idempotent partition has five messages on their way and more in
    /// its queue, librdkafka 2.12 does not wait for the answer but spins (half of the broker's time at 100 KB a frame).
    pub(super) fn batch_producer(&self) -> ClientConfig {
        let mut config = self.idempotent_producer();
        config.set("linger.ms", BATCH_LINGER.as_millis().to_string());
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_a_port() {
        assert!(KafkaConfig::new("localhost:9092,[::1]:9093").is_ok());
        for bad in ["localhost", "localhost:", "a:1,b", ""] {
            assert!(KafkaConfig::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
