//! A source that starts again: ids never repeat, imports go on where they were killed.

use crate::harness::{Follower, Process, clip, consume, name, pictures, run_ok, shared};

#[test]
fn every_start_has_an_epoch_of_its_own_also_after_kill_9() {
    let topic = name();
    let args = ["--pattern", "160x120@50", "--topic", &topic];
    let counted = [&args[..], &["--count", "20", "--pace", "max"]].concat();
    run_ok("producer", shared(), &counted);
    let killed = Process::start("producer", shared(), &args);
    Follower::new(shared(), &topic).wait_for(21 + 10);
    killed.kill9();
    run_ok("producer", shared(), &counted);
    let lines = consume(shared(), &topic, &["--verify-picture"]);
    assert_eq!(lines.epochs(&topic), [1, 2, 3]);
    lines.assert_run(&topic, 1, 20, "finished");
    lines.assert_run(&topic, 3, 20, "finished");
    let cut_off = lines.of(&topic, 2);
    let frames = cut_off.sequences();
    assert_eq!(frames, (0..frames.len() as u64).collect::<Vec<_>>());
    assert_eq!(cut_off.kind("end").0.len(), 0, "nobody could write one");
}

#[test]
fn the_second_of_two_producers_of_a_source_takes_it_over() {
    let topic = name();
    let args = ["--pattern", "160x120@50", "--topic", &topic];
    let first = Process::start("producer", shared(), &args);
    Follower::new(shared(), &topic).wait_for(10);
    let second = Process::start("producer", shared(), &args);
    let (code, log) = first.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("taken over by") && log.contains("--source-id"),
        "{log}"
    );
    let so_far = consume(shared(), &topic, &[])
        .of(&topic, 2)
        .sequences()
        .len();
    let mut follower = Follower::new(shared(), &topic);
    follower.wait_for(10 + so_far + 10);
    assert!(second.stop().success(), "the newer one goes on");
    let lines = consume(shared(), &topic, &["--verify-picture"]);
    assert_eq!(lines.epochs(&topic), [1, 2]);
    let count = lines.of(&topic, 2).sequences().len() as u64;
    lines.assert_run(&topic, 2, count, "stopped");
    let older = lines.of(&topic, 1).sequences();
    assert_eq!(older, (0..older.len() as u64).collect::<Vec<_>>());
}

/// Starts an import again and again, kills it once the topic has each of these numbers of records, lets the last one
/// run to its end.
fn import_with_kills(topic: &str, args: &[&str], kill_at: &[usize]) {
    let args = [args, &["--resume", "--topic", topic]].concat();
    for count in kill_at {
        let import = Process::start("producer", shared(), &args);
        Follower::new(shared(), topic).wait_for(*count);
        import.kill9();
    }
    run_ok("producer", shared(), &args);
}

#[test]
fn a_killed_import_of_a_file_neither_loses_nor_doubles_a_frame() {
    let (whole, killed) = (name(), name());
    let file = ["--file", &clip(), "--pace", "max", "--resize", "192x144"];
    run_ok(
        "producer",
        shared(),
        &[&file[..], &["--topic", &whole, "--source-id", &killed]].concat(),
    );
    // It commits 50 frames at a time.
    import_with_kills(&killed, &file, &[1, 51, 101, 151]);
    consume(shared(), &killed, &[]).assert_run(&killed, 1, 220, "finished");
    assert!(
        pictures(shared(), &whole) == pictures(shared(), &killed),
        "an import in pieces has other pictures than one in one piece"
    );
}

#[test]
fn a_killed_import_of_a_folder_goes_on_and_is_complete_when_asked_again() {
    let (donor, imported) = (name(), name());
    let pattern = [
        "--pattern",
        "160x120@30",
        "--pace",
        "max",
        "--count",
        "150",
        "--topic",
        &donor,
    ];
    run_ok("producer", shared(), &pattern);
    let dir = tempfile::tempdir().unwrap();
    let stills = dir.path().join("stills");
    let sink = format!("jpeg:{}", stills.display());
    run_ok(
        "consumer",
        shared(),
        &["--topic", &donor, "--until", "end", "--sink", &sink],
    );
    let images = ["--images", stills.to_str().unwrap(), "--fps", "75"];
    import_with_kills(&imported, &images, &[1, 40, 41, 90]);
    consume(shared(), &imported, &[]).assert_run(&imported, 1, 150, "finished");
    let sent = |topic: &str| -> Vec<_> {
        pictures(shared(), topic)
            .into_iter()
            .map(|(_, jpeg)| jpeg)
            .collect()
    };
    assert_eq!(sent(&imported), sent(&donor));

    let again = Process::start(
        "producer",
        shared(),
        &[&images[..], &["--resume", "--topic", &imported]].concat(),
    );
    let (code, log) = again.outcome();
    assert!(code == Some(0) && log.contains("already complete"), "{log}");
    consume(shared(), &imported, &[]).assert_run(&imported, 1, 150, "finished");
}

#[test]
fn a_second_import_of_a_file_takes_over_and_still_every_frame_is_there_once() {
    let topic = name();
    let args = [
        "--file",
        &clip(),
        "--resize",
        "192x144",
        "--resume",
        "--topic",
        &topic,
    ];
    let first = Process::start("producer", shared(), &args); // as the clip was filmed: 22 s
    Follower::new(shared(), &topic).wait_for(5);
    run_ok(
        "producer",
        shared(),
        &[&args[..], &["--pace", "max"]].concat(),
    );
    let (code, log) = first.outcome();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("taken over by"), "{log}");
    consume(shared(), &topic, &[]).assert_run(&topic, 1, 220, "finished");
}
