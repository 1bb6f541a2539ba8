//! Before the first frame: topics that exist, and limits that fit together.

use crate::args::{OnFailure, StageConfig, StageWork};
use crate::output::Destination;
use pipeline::kafka::{Admin, KafkaFault, TopicSpec};

/// Checks the inputs and makes the outputs. Blocks.
pub fn prepare(config: &StageConfig) -> Result<Destination, KafkaFault> {
    let admin = Admin::connect(&config.kafka)?;
    let args = &config.args;
    let partitions = match &config.work {
        StageWork::Process(_) => of_inputs(&admin, &args.input)?,
        StageWork::Join(topics) => of_branches(&admin, topics)?,
    };
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

/// The most partitions that an input has.
fn of_inputs(admin: &Admin, inputs: &[String]) -> Result<i32, KafkaFault> {
    let mut partitions = 1;
    for input in inputs {
        for name in matching(admin, input)? {
            partitions = partitions.max(count(admin, &name)?);
        }
    }
    Ok(partitions)
}

/// Branches of one stream have its partitions.
fn of_branches(admin: &Admin, topics: &[String]) -> Result<i32, KafkaFault> {
    let (first, others) = topics.split_first().expect("checked with the settings");
    let partitions = count(admin, first)?;
    for other in others {
        let found = count(admin, other)?;
        if found != partitions {
            return Err(KafkaFault::Unfit(format!(
                "{first} has {partitions} partitions and {other} has {found}: topics that were made of one have as many, \
                 and only then are frames to be joined found in the same partition. Give the stages between them new \
                 output topics"
            )));
        }
    }
    Ok(partitions)
}

fn count(admin: &Admin, topic: &str) -> Result<i32, KafkaFault> {
    let found = admin.partitions_soon(topic)?.len();
    Ok(i32::try_from(found).unwrap_or(i32::MAX))
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
