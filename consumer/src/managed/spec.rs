//! A declared consumer as the consumer's own settings: checked as its command line is, by the same code.

use crate::args::Args;
use crate::config::{Config, DeclaredCommands};
use crate::monitor::ActionSpec;
use clap::Parser;
use pipeline::kafka::KafkaConfig;
use registry::model::{Consumer, Name};
use registry::{group_of_consumer, secrets};

/// What a managed consumer's options may not say: the registry, or the command line, says it in another way.
const SAID_OTHERWISE: [&str; 10] = [
    "topic",
    "group",
    "instance",
    "until",
    "sink",
    "managed",
    "name",
    "registry",
    "metrics",
    "allow-exec",
];

/// What to run, of no topic yet; or why it cannot be run.
pub fn config(
    registry: &str,
    name: &Name,
    spec: &Consumer,
    kafka: &KafkaConfig,
    commands: DeclaredCommands,
) -> Result<Config, String> {
    let is_foreign = |option: &str| {
        SAID_OTHERWISE.contains(&option)
            || option == "bootstrap-servers"
            || option.starts_with("kafka-")
    };
    if let Some((option, _)) = spec.options.iter().find(|(option, _)| is_foreign(option)) {
        return Err(format!(
            "options: {option} is not for managed consumers: sinks stand beside options, the sources in the Assignment \
             of this name, and the rest on the command line"
        ));
    }
    let mut words = vec!["consumer".to_owned()];
    // A name must be there, and is not read.
    words.extend(["--topic", "managed", "--group"].map(str::to_owned));
    words.push(group_of_consumer(registry, name));
    words.extend(spec.sinks.iter().map(|sink| format!("--sink={sink}")));
    words.extend(spec.options.words());
    // What is refused is said to everybody who may see the registry.
    let args = Args::try_parse_from(words)
        .map_err(|cause| secrets::hide_in_text(&first_line(&cause.to_string()), spec))?;
    let mut config = Config::try_from(args).map_err(|cause| format!("{cause:#}"))?;
    if commands == DeclaredCommands::Refused && runs_commands(&config) {
        return Err(
            "options.do: exec: would run a command of whoever may write the registry: start this consumer with \
             --allow-exec if they may do that here, or declare another action"
                .to_owned(),
        );
    }
    config.topics.clear();
    config.kafka = kafka.clone();
    Ok(config)
}

fn runs_commands(config: &Config) -> bool {
    let mut actions = config.monitor.iter().flat_map(|monitor| &monitor.actions);
    actions.any(|action| matches!(action, ActionSpec::Exec(_)))
}

/// The parser's hints are for a command line.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::model::Options;
    use serde_json::json;

    fn config_of(sinks: &[&str], options: serde_json::Value) -> Result<Config, String> {
        config_with(sinks, options, DeclaredCommands::Refused)
    }

    fn config_with(
        sinks: &[&str],
        options: serde_json::Value,
        commands: DeclaredCommands,
    ) -> Result<Config, String> {
        let options: Options = serde_json::from_value(options).unwrap();
        let spec = Consumer {
            sinks: sinks.iter().map(ToString::to_string).collect(),
            options,
            when_closed: Default::default(),
        };
        let kafka = KafkaConfig::new("kafka:9092").unwrap();
        config("lab", &"m1".parse().unwrap(), &spec, &kafka, commands)
    }

    #[test]
    fn declared_commands_need_the_consent_of_who_starts_the_consumer() {
        for actions in [json!("exec:true"), json!(["jsonl:a", "exec:touch x"])] {
            let options = json!({"when": "true", "do": actions});
            let refused = config_of(&["stats"], options.clone()).expect_err("not allowed");
            assert!(refused.contains("--allow-exec"), "{refused}");
            assert!(config_with(&["stats"], options, DeclaredCommands::Allowed).is_ok());
        }
        let harmless = json!({"when": "true", "do": ["jsonl:a", "webhook:http://h/"]});
        assert!(config_of(&["stats"], harmless).is_ok());
        // It is no option of an object: who writes the registry does not consent for the machine.
        let by_itself = json!({"when": "true", "do": "exec:true", "allow-exec": true});
        assert!(config_of(&["stats"], by_itself).is_err());
    }

    #[test]
    fn sinks_and_options_are_those_of_the_command_line() {
        let config = config_of(&["jsonl:a", "stats"], json!({"fps": 12, "overlay": true})).unwrap();
        assert_eq!(config.sinks.len(), 2);
        assert_eq!(config.sink_options.fps, Some(12.0));
        assert_eq!(config.kafka.bootstrap_servers(), "kafka:9092");
        let group = config.group.expect("managed consumers have one").group;
        assert_eq!(group, "lab/consumer.m1");
        assert!(config.topics.is_empty());
    }

    #[test]
    fn a_refusal_does_not_tell_a_webhook_s_secrets() {
        let options = json!({"when": "true", "do": "webhook:ftp://me:hunter2@h/secret"});
        let error = config_of(&["stats"], options).expect_err("no webhook");
        assert!(error.contains("ftp://h/***"), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        for (sinks, options, hint) in [
            (&["paper:x"][..], json!({}), "paper"),
            (&["stats"], json!({"fps": 0}), "above 0"),
            (&["stats"], json!({"colour": "red"}), "colour"),
            (&["stats"], json!({"topic": "cam0"}), "Assignment"),
            (
                &["stats"],
                json!({"bootstrap-servers": "x:1"}),
                "command line",
            ),
            (&["stats", "stats"], json!({}), "twice"),
            (&["stats"], json!({"when": "nothing"}), "nothing"),
        ] {
            let error = config_of(sinks, options).expect_err(hint);
            assert!(error.contains(hint), "{error}");
        }
    }
}
