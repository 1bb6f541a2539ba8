//! A Kafka behind proxies, one for each test that needs a bad network. See `docs/faults.md` for which test is for what.

use kafka_node::{Kafka, Options};
use kafka_proxy::{Point, Proxy, Reaction, Trigger};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// For anything that must come.
pub const LIMIT: Duration = Duration::from_secs(60);

/// As many as there are tests that take one: Kafka must know of them when it starts.
const NETWORKS: usize = 19;

/// Enough for what these tests send; a machine of 2 cores runs several of these Javas at once.
pub const HEAP_MIB: u32 = 512;

struct Lab {
    kafka: Kafka,
    /// With the address behind each.
    unused: Mutex<Vec<(Proxy, String)>>,
}

/// A network of its own for a test, between those it chooses and a Kafka that it shares.
pub struct Network {
    pub proxy: Proxy,
    /// The same Kafka past the proxy: for looking on.
    pub direct: &'static str,
}

impl Network {
    pub fn new() -> Self {
        let lab = lab();
        let unused = lab
            .unused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let (proxy, target) = unused.expect("NETWORKS counts the tests that take one");
        proxy.set_target(&target);
        Self {
            proxy,
            direct: lab.kafka.bootstrap_servers(),
        }
    }

    /// The address of Kafka for those who live with this network.
    pub fn servers(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Arms a point and waits until it has fired.
    pub fn wait_on(&self, point: Point, reaction: Reaction) -> Trigger {
        let text = format!("{point:?}");
        let trigger = self.proxy.on(point, reaction);
        assert!(trigger.wait(LIMIT), "never came: {text}");
        trigger
    }
}

fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let proxies: Vec<Proxy> = (0..NETWORKS)
            .map(|_| Proxy::start().expect("a free port"))
            .collect();
        let options = Options {
            proxies: proxies
                .iter()
                .map(|proxy| proxy.address().to_string())
                .collect(),
            heap_mib: HEAP_MIB,
            ..Options::default()
        };
        let kafka = Kafka::start_jars(&options).expect("a Kafka of these tests' own");
        let targets = kafka.proxied().to_vec();
        Lab {
            kafka,
            unused: Mutex::new(proxies.into_iter().zip(targets).collect()),
        }
    })
}

/// Where a broker that the harness starts writes to.
pub fn output_of(input: &str) -> String {
    format!("{input}.out")
}
