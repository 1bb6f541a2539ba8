//! Before the first frame: topics that exist, and limits that fit together.

use crate::args::{Config, OnFailure};
use crate::output::Destination;
use pipeline::kafka::{Admin, KafkaFault, TopicSpec};

/// Checks the inputs and makes the outputs. Blocks.
pub fn prepare(config: &Config) -> Result<Destination, KafkaFault> {
    let admin = Admin::connect(&config.kafka)?;
    let args = &config.args;
    let mut partitions = 1;
    for input in &args.input {
        for name in matching(&admin, input)? {
            let found = admin.partitions_soon(&name)?.len();
            partitions = partitions.max(i32::try_from(found).unwrap_or(i32::MAX));
        }
    }
    let output = ensure(&admin, &args.output, partitions, args.no_create)?;
    if let Some(topic) = &config.dead_letter {
        debug_assert_eq!(args.on_failure, OnFailure::DeadLetter);
        ensure(&admin, topic, partitions, args.no_create)?;
    }
    Ok(Destination {
        topic: args.output.as_str().into(),
        partitions: output,
        dead_letter: config.dead_letter.as_deref().map(Into::into),
    })
}

/// The topics that an input means today. A pattern may match none yet: later ones are found by the group.
fn matching(admin: &Admin, input: &str) -> Result<Vec<String>, KafkaFault> {
    if !input.starts_with('^') {
        return Ok(vec![input.to_owned()]);
    }
    let pattern =
        regex_lite::Regex::new(input).map_err(|cause| KafkaFault::Unfit(cause.to_string()))?;
    let names = admin.topic_names()?;
    Ok(names
        .into_iter()
        .filter(|name| pattern.is_match(name))
        .collect())
}

fn ensure(admin: &Admin, topic: &str, partitions: i32, no_create: bool) -> Result<i32, KafkaFault> {
    let info = if no_create {
        admin
            .topic(topic)?
            .ok_or_else(|| KafkaFault::NoTopic(topic.to_owned()))?
    } else {
        admin.ensure_topic(&TopicSpec::frames(topic, partitions))?
    };
    admin.check_record_limit(topic)?;
    Ok(info.partitions)
}
