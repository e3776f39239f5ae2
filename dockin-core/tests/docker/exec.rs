//! What holds for every exec, whoever starts the command.

use super::*;

#[tokio::test]
async fn output_and_exit_code_arrive_with_the_streams_apart() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "echo out; echo err >&2; exit 7";
    let ended = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.stderr, b"err\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(7)));
}

#[tokio::test]
async fn what_was_not_asked_for_does_not_arrive() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let streams = StreamSet {
        stderr: false,
        ..OUTPUT
    };
    let ended = run(
        &docker,
        &container.name,
        &["sh", "-c", "echo out; echo err >&2"],
        streams,
        b"",
    )
    .await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.stderr, b"");
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_with_126_or_127() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let ended = run(&docker, &container.name, &["/no/such/program"], OUTPUT, b"").await;
    let status = ended.status.unwrap();
    assert!(
        matches!(status, ExitStatus::Exited(126 | 127)),
        "{status:?}"
    );
    // The daemon says it on standard output, the runtime's words go where errors go.
    let said = [ended.stdout, ended.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("/no/such/program"));
}

#[tokio::test]
async fn half_close_ends_the_input_and_keeps_the_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "wc -c; sleep 1; echo after";
    let ended = run(
        &docker,
        &container.name,
        &["sh", "-c", script],
        PIPED,
        b"12345",
    )
    .await;
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "5\nafter\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_hundred_megabytes_out_are_complete() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "dd if=/dev/urandom of=/tmp/blob bs=1048576 count=100 2>/dev/null; \
                  sha256sum /tmp/blob >&2; cat /tmp/blob";
    let ended = run(&docker, &container.name, &["sh", "-c", script], OUTPUT, b"").await;
    assert_eq!(ended.stdout.len(), 100 * MIB);
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with(&digest(&ended.stdout)));
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_hundred_megabytes_in_are_complete() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let mut input = vec![0; 100 * MIB];
    let mut state = 1_u32;
    for byte in &mut input {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let ended = run(&docker, &container.name, &["sha256sum"], PIPED, &input).await;
    assert!(String::from_utf8_lossy(&ended.stdout).starts_with(&digest(&input)));
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn input_that_nobody_reads_pushes_back_and_does_not_hold_the_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo ready; sleep 600"];
    let mut session = open(&docker, &container.name, &argv, PIPED).await;
    let mut sent = 0;
    while let Ok(fed) = timeout(
        Duration::from_secs(1),
        session.feed(Event::Stdin(Bytes::from(vec![0; MIB]))),
    )
    .await
    {
        fed.unwrap();
        sent += 1;
        assert!(sent < 64, "nothing pushes back");
    }
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\n")))
    );
}

#[tokio::test]
async fn a_terminal_has_the_size_that_was_sent_before_the_start_and_follows_a_resize() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let script = "while [ \"$(stty size 2>/dev/null)\" != '33 101' ]; do sleep 0.1; done; echo first; \
                  while [ \"$(stty size 2>/dev/null)\" != '50 132' ]; do sleep 0.1; done; echo second";
    let mut session = open(&docker, &container.name, &["sh", "-c", script], TERMINAL).await;
    session
        .send(Event::Resize(TerminalSize {
            width: 101,
            height: 33,
        }))
        .await
        .unwrap();
    let first = next(&mut session).await;
    assert_eq!(first, Some(Event::Stdout(Bytes::from_static(b"first\r\n"))));
    session
        .send(Event::Resize(TerminalSize {
            width: 132,
            height: 50,
        }))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"second\r\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_prompt_without_a_line_end_arrives_at_once() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "printf 'name? '; read name; echo hello $name"];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"name? ")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"ann\n")))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(ended.stdout, b"ann\r\nhello ann\r\n");
}

#[tokio::test]
async fn the_end_of_a_terminals_input_does_not_cut_its_output() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "stty -echo; echo ready; cat; sleep 1; echo after",
    ];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\r\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"unfinished")))
        .await
        .unwrap();
    session.send(Event::HalfClose).await.unwrap();
    let ended = collect(session).await;
    assert_eq!(
        String::from_utf8_lossy(&ended.stdout),
        "unfinishedafter\r\n"
    );
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn control_p_reaches_the_program_and_control_p_control_q_does_not_detach() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "stty raw -echo; echo ready; dd bs=1 count=1 2>/dev/null | od -An -tx1; \
                             dd bs=1 count=1 2>/dev/null | od -An -tx1; echo after",
    ];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"ready\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"\x10")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b" 10\n")))
    );
    session
        .send(Event::Stdin(Bytes::from_static(b"\x11")))
        .await
        .unwrap();
    let ended = collect(session).await;
    assert_eq!(String::from_utf8_lossy(&ended.stdout), " 11\nafter\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn a_process_that_closed_its_outputs_still_gives_its_exit_code() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "echo out; exec >/dev/null 2>&1; sleep 2; exit 5",
    ];
    let ended = run(&docker, &container.name, &argv, OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(5)));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_outputs_does_not_hold_the_end() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "sleep 7001 & echo out; exit 3"];
    let ended = run(&docker, &container.name, &argv, OUTPUT, b"").await;
    assert_eq!(ended.stdout, b"out\n");
    assert_eq!(ended.status, Some(ExitStatus::Exited(3)));
    container.until_no_process_has("7001").await;
}

#[tokio::test]
async fn a_dropped_session_leaves_no_process_behind() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = [
        "sh",
        "-c",
        "trap '' HUP TERM INT; (setsid sleep 7002 &) ; echo up; sleep 7002",
    ];
    let mut session = open(&docker, &container.name, &argv, PIPED).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\n")))
    );
    drop(session);
    container.until_no_process_has("7002").await;
}

#[tokio::test]
async fn a_session_dropped_before_its_process_is_there_leaves_none_behind() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    for _ in 0..3 {
        let argv = ["sh", "-c", "touch /seen; sleep 7003"];
        drop(open(&docker, &container.name, &argv, PIPED).await);
    }
    container.until_no_process_has("7003").await;
    // The last one may have been started since.
    sleep(Duration::from_secs(3)).await;
    container.until_no_process_has("7003").await;
}

#[tokio::test]
async fn close_ends_the_processes_and_the_stream() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo up; sleep 7004"];
    let mut session = open(&docker, &container.name, &argv, TERMINAL).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\r\n")))
    );
    session.send(Event::Close).await.unwrap();
    assert_eq!(next(&mut session).await, None);
    container.until_no_process_has("7004").await;
}

#[tokio::test]
async fn a_container_that_ends_under_a_session_is_no_success() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let argv = ["sh", "-c", "echo up; sleep 7005"];
    let mut session = open(&docker, &container.name, &argv, OUTPUT).await;
    assert_eq!(
        next(&mut session).await,
        Some(Event::Stdout(Bytes::from_static(b"up\n")))
    );
    cli(&["rm", "-f", &container.name]);
    let ended = collect(session).await;
    assert_ne!(ended.status, Some(ExitStatus::Exited(0)));
}

#[tokio::test]
async fn exec_in_what_is_not_there_or_does_not_run_says_which() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let permit = permit(Verb::Exec, "no-such-container").await;
    let error = docker
        .exec(&permit, &argv(&["true"]), OUTPUT)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    cli(&["kill", &container.name]);
    let permit = self::permit(Verb::Exec, &container.name).await;
    let error = docker
        .exec(&permit, &argv(&["true"]), OUTPUT)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = docker.attach(&permit, OUTPUT).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let error = docker.dial(&permit, 80).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn a_container_made_anew_under_its_name_is_found_at_once() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    for round in 0..3 {
        let text = round.to_string();
        let ended = run(&docker, &container.name, &["echo", &text], OUTPUT, b"").await;
        assert_eq!(ended.stdout, format!("{round}\n").as_bytes());
        cli(&["rm", "-f", &container.name]);
        cli(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            &container.name,
            IMAGE,
        ]);
    }
}

#[tokio::test]
async fn many_sessions_at_once_do_not_mix() {
    let container = Sample::run(&[]);
    let docker = connect().await;
    let name = &container.name;
    let docker = &docker;
    let sessions = (0..12).map(|i| async move {
        let text = format!("{i}").repeat(1000);
        run(docker, name, &["cat"], PIPED, text.as_bytes())
            .await
            .stdout
            == text.as_bytes()
    });
    assert!(
        futures::future::join_all(sessions)
            .await
            .into_iter()
            .all(|same| same)
    );
}
