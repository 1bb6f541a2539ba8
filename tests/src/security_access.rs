//! Access rules: with exactly those of docs/security.md the pipeline works; a rule that is missing is named.

use crate::harness::{name, processor, wait_for};
use crate::security_lab::{at, files, kafka, password, start_as};
use kafka_node::{Acl, Pattern, Resource};
use pipeline::kafka::{
    KafkaArgs, KafkaConfig, Mechanism, Outgoing, Protocol, SecurityArgs, Writer,
};

const GUIDE: &str = include_str!("../../docs/security.md");

/// The rules that a command of the guide makes.
fn rules(command: &str) -> Vec<Acl> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let values = |option: &'static str| {
        let pairs = words.windows(2).filter(move |pair| pair[0] == option);
        pairs.map(|pair| pair[1].to_owned())
    };
    let of = |option, resource| values(option).map(move |name| (resource, name));
    let (resource, name) = of("--topic", Resource::Topic)
        .chain(of("--group", Resource::Group))
        .chain(of("--transactional-id", Resource::TransactionalId))
        .next()
        .expect("a resource");
    let principal = values("--allow-principal").next().expect("a principal");
    let pattern = match values("--resource-pattern-type").next().as_deref() {
        None => Pattern::Literal,
        Some("prefixed") => Pattern::Prefixed,
        Some(other) => panic!("{other}"),
    };
    let rule = |operation| Acl {
        principal: principal.clone(),
        operation,
        resource,
        name: name.clone(),
        pattern,
    };
    values("--operation").map(rule).collect()
}

fn grant(user: &str, operation: &str, resource: Resource, name: &str) {
    let acl = Acl {
        principal: format!("User:{user}"),
        operation: operation.to_owned(),
        resource,
        name: name.to_owned(),
        pattern: Pattern::Prefixed,
    };
    kafka().allow(&acl).expect("a rule");
}

/// Runs a service, which must end with an error that names this rule.
fn check_denied(user: &str, binary: &str, line: &str, operation: &str, option: &str) {
    let (code, log) = start_as(user, binary, line).outcome();
    assert_eq!(code, Some(1), "{binary} {line}: {log}");
    let error = log.find("error:").map_or("", |at| &log[at..]);
    let rule = format!("--operation {operation} {option}");
    assert!(
        error.contains(&rule),
        "{binary} {line}: no {rule:?} in {log}"
    );
}

#[test]
fn with_exactly_the_rules_of_the_guide_the_pipeline_works_and_nothing_more() {
    let commands: Vec<&str> = GUIDE
        .lines()
        .filter(|line| line.starts_with("kafka-acls.sh"))
        .collect();
    assert_eq!(commands.len(), 9, "the guide's commands");
    for acl in commands.into_iter().flat_map(rules) {
        kafka().allow(&acl).expect("a rule");
    }
    let source = "--pattern 160x120@30 --pace max --count 20 --topic cam0";
    let (code, log) = start_as("producer", "producer", source).outcome();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        !log.contains("uthorization") && !log.contains("--operation"),
        "{log}"
    );

    let (_processor, url) = processor(&["echo"]);
    let stage = format!("--input cam0 --output cam0.faces --processor {url}");
    let broker = start_as("broker", "broker", &stage);
    broker.wait_for_log("the processor is up");

    // Without a group, and with one.
    for more in ["--from earliest", "--from earliest --group archive"] {
        let sink = format!("--topic cam0.faces --until count:20 --sink jsonl:- {more}");
        let (code, log) = start_as("consumer", "consumer", &sink).outcome();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.matches("\"kind\":\"frame\"").count(), 20, "{log}");
    }
    assert!(broker.stop().success());

    // Nobody does another's work.
    check_denied(
        "producer",
        "consumer",
        "--topic cam0 --until end",
        "Read",
        "--topic 'cam0'",
    );
    check_denied(
        "producer",
        "consumer",
        "--topic cam0 --group archive",
        "Read",
        "--group 'archive'",
    );
    check_denied(
        "consumer",
        "consumer",
        "--topic cam0",
        "Describe",
        "--topic 'cam0'",
    );
    check_denied(
        "consumer",
        "producer",
        "--pattern 160x120@30 --topic cam0.faces",
        "Describe",
        "--topic 'framelane.sources'",
    );
    let error = write_as("consumer", "cam0.faces").unwrap_err();
    assert!(
        error.contains("--operation Write --topic 'cam0.faces'"),
        "{error}"
    );
    write_as("broker", "cam0.faces").expect("a broker may write its output");
}

/// Writes one record with a user's login.
fn write_as(user: &str, topic: &str) -> Result<(), String> {
    let file = files().write("password-to-write", password());
    let args = KafkaArgs {
        bootstrap_servers: at("login").to_owned(),
        security: SecurityArgs {
            kafka_security: Protocol::SaslTls,
            kafka_ca: Some(files().path("ca.pem").into()),
            kafka_user: Some(user.to_owned()),
            kafka_password_file: Some(file.into()),
            kafka_mechanism: Some(Mechanism::ScramSha256),
            ..SecurityArgs::default()
        },
    };
    let config = KafkaConfig::try_from(args).expect("good settings");
    let writer = Writer::new(&config).expect("a writer");
    let record = Outgoing {
        topic: topic.into(),
        partition: Some(0),
        key: "k".into(),
        timestamp_ms: 1,
        headers: Vec::new(),
        payload: "p".into(),
    };
    writer
        .send_all([&record])
        .map_err(|fault| fault.to_string())
}

#[test]
fn a_producer_names_each_rule_it_lacks() {
    let topic = name();
    let line = format!("--pattern 160x120@30 --pace max --count 3 --topic {topic}");
    let denied = |operation: &str, option: &str| {
        check_denied("u0", "producer", &line, operation, option);
    };
    let topic_option = format!("--topic '{topic}'");
    denied("Describe", &topic_option);
    grant("u0", "Describe", Resource::Topic, &topic);
    denied("Create", &topic_option);
    grant("u0", "Create", Resource::Topic, &topic);
    denied("Describe", "--topic 'framelane.sources'");
    for operation in ["Describe", "Create"] {
        grant("u0", operation, Resource::Topic, "framelane.sources");
    }
    let id = format!("framelane.source/{topic}/{topic}");
    denied("Write", &format!("--transactional-id '{id}'"));
    grant("u0", "Write", Resource::TransactionalId, &id);
    denied("Read", "--topic 'framelane.sources'");
    grant("u0", "Read", Resource::Topic, "framelane.sources");
    denied("Write", "--topic 'framelane.sources'");
    grant("u0", "Write", Resource::Topic, "framelane.sources");
    denied("Write", &topic_option);
    grant("u0", "Write", Resource::Topic, &topic);
    let (code, log) = start_as("u0", "producer", &line).outcome();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("--operation DescribeConfigs"), "{log}");
}

#[test]
fn a_broker_names_each_rule_it_lacks() {
    let input = name();
    let output = format!("{input}.out");
    crate::security_lab::kafka()
        .create_topic(&input)
        .expect("a topic");
    crate::harness::publish(kafka().bootstrap_servers(), &input, "s", 0..3);
    let (_processor, url) = processor(&["echo"]);
    let line = format!("--input {input} --output {output} --processor {url}");
    let denied = |operation: &str, option: &str| {
        check_denied("u1", "broker", &line, operation, option);
    };
    let allow =
        |operation: &str, resource, name: &str| grant_exactly("u1", operation, resource, name);
    denied("Describe", &format!("--topic '{input}'"));
    allow("Describe", Resource::Topic, &input);
    denied("Describe", &format!("--topic '{output}'"));
    allow("Describe", Resource::Topic, &output);
    denied("Create", &format!("--topic '{output}'"));
    allow("Create", Resource::Topic, &output);
    let (code, log) = start_as("u1", "broker", &line).outcome();
    assert_eq!(code, Some(1), "{log}");
    let wanted = format!("--operation Write --transactional-id 'framelane.framelane.{output}.");
    assert!(log.contains(&wanted), "{log}");
    grant(
        "u1",
        "Write",
        Resource::TransactionalId,
        &format!("framelane.framelane.{output}."),
    );
    let group = format!("framelane.{output}");
    denied("Read", &format!("--group '{group}'"));
    allow("Read", Resource::Group, &group);
    denied("Read", &format!("--topic '{input}'"));
    allow("Read", Resource::Topic, &input);
    denied("Write", &format!("--topic '{output}'"));
    allow("Write", Resource::Topic, &output);
    let broker = start_as("u1", "broker", &line);
    wait_for("the frames in the output", || {
        let seen = crate::harness::read_committed(kafka().bootstrap_servers(), &output);
        (seen.len() == 3).then_some(())
    });
    assert!(broker.stop().success());
}

/// For this name only, not for those that begin with it.
fn grant_exactly(user: &str, operation: &str, resource: Resource, name: &str) {
    let acl = Acl {
        principal: format!("User:{user}"),
        operation: operation.to_owned(),
        resource,
        name: name.to_owned(),
        pattern: Pattern::Literal,
    };
    kafka().allow(&acl).expect("a rule");
}
