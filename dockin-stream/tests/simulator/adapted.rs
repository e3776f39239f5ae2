use std::{
    cell::RefCell,
    future::{Future, poll_fn, ready},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use dockin_stream::{
    Codec, Event, ExitStatus, OpenGate, Outcome, Relay,
    io::{Endpoint, run_relay},
};
use futures::{SinkExt, StreamExt};
use tokio::{task::LocalSet, time::Sleep};

use crate::{
    link::{Link, Side},
    player::{HangUp, Heard, Next, Player},
    protocol::BoxCodec,
    random::Random,
    socket::{Socket, now},
    world::Session,
};

/// What a session over the adapters left behind.
pub(crate) struct Adapted {
    pub(crate) client: Heard,
    pub(crate) container: Heard,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) link: Rc<RefCell<Link>>,
    pub(crate) lasted: Duration,
    /// How often the relay, or the server without one, was polled.
    pub(crate) polls: usize,
}

/// Runs `future` in a tokio of its own whose time moves when nothing else does.
pub(crate) fn in_virtual_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        tokio::time::timeout(FOREVER, future)
            .await
            .expect("the session hangs")
    }))
}

/// Longer than any scenario.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Runs the session over `io::Endpoint` and `io::run_relay`.
pub(crate) fn run(session: Session, random: &mut Random) -> Adapted {
    in_virtual_time(async {
        let start = now();
        let Session {
            client,
            streams,
            weather: [first, second],
            ..
        } = session;
        let link = Rc::new(RefCell::new(Link::new(first, random)));
        if session.listen_in {
            link.borrow_mut().listen_in(Side::Near);
            link.borrow_mut().listen_in(Side::Far);
        }
        let (near, far) = Socket::pair(&link);
        let opened = session.opened.unwrap_or(streams);
        let client_task = tokio::task::spawn_local(play(
            near,
            client.client(opened, random.next()),
            Player::new(session.client_acts),
            session.client_is_hasty,
        ));
        let front = client.server(streams, start);
        let container_player = Player::new(session.container_acts);
        let mask_seed = random.next();
        let (container_task, relay_task) = match session.container {
            None => (
                tokio::task::spawn_local(play(
                    far,
                    front,
                    container_player,
                    session.server_is_hasty,
                )),
                None,
            ),
            Some(protocol) => {
                let link = Rc::new(RefCell::new(Link::new(second, random)));
                let (back, container) = Socket::pair(&link);
                let server = protocol.server(streams, start);
                let client = protocol.client(streams, mask_seed);
                (
                    tokio::task::spawn_local(play(
                        container,
                        server,
                        container_player,
                        session.server_is_hasty,
                    )),
                    Some(tokio::task::spawn_local(counted(relay(
                        far, front, back, client,
                    )))),
                )
            }
        };
        let client = client_task.await.unwrap();
        let (outcome, polls) = match relay_task {
            None => (None, 0),
            Some(task) => task.await.unwrap(),
        };
        let container = container_task.await.unwrap();
        client.assert_lawful();
        container.assert_lawful();
        assert_eq!(Rc::strong_count(&link), 1, "a socket was not given back");
        Adapted {
            client,
            container,
            outcome,
            link,
            lasted: now() - start,
            polls,
        }
    })
}

/// What the gateway does with a session, in the same order.
async fn relay(
    client: Socket,
    front: BoxCodec,
    container: Socket,
    back: BoxCodec,
) -> Option<Outcome> {
    let mut client = Endpoint::new(client, front, Bytes::new());
    let mut container = Endpoint::new(container, back, Bytes::new());
    if let Err(error) = client.ready().await {
        let status = ExitStatus::internal_error(error.to_string());
        let _gone = client.send(Event::Exit(status)).await;
        let _gone = client.finish().await;
        return None;
    }
    let relay = Relay::new(OpenGate::default());
    let (outcome, _) = run_relay(&mut client, &mut container, relay, |()| ready(Ok(()))).await;
    drop(container);
    let _gone = client.finish().await;
    Some(outcome)
}

async fn counted<F: Future>(future: F) -> (F::Output, usize) {
    let mut polls = 0;
    let mut future = pin!(future);
    let output = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    })
    .await;
    (output, polls)
}

/// Plays one end of the session to its end.
async fn play(socket: Socket, codec: BoxCodec, player: Player, hasty: bool) -> Heard {
    let (link, side) = socket.place();
    let mut stage = Stage {
        endpoint: Some(Endpoint::new(socket, codec, Bytes::new())),
        link,
        side,
        player,
        paused: false,
        closing: false,
        alarm: None,
    };
    poll_fn(|cx| stage.poll(cx)).await;
    let Stage {
        endpoint, player, ..
    } = stage;
    if let Some(mut endpoint) = endpoint {
        if !endpoint.codec().is_finished() {
            let _gone = endpoint.feed(Event::Close).await;
        }
        if !hasty {
            let _gone = endpoint.finish().await;
        } else if !player.heard.over {
            let _gone = endpoint.flush().await;
        }
    }
    player.heard
}

struct Stage {
    /// `None` when he has hung up.
    endpoint: Option<Endpoint<Socket, BoxCodec>>,
    link: Rc<RefCell<Link>>,
    side: Side,
    player: Player,
    paused: bool,
    /// Our direction ends behind what is queued.
    closing: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stage {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let moved = self.hear(cx) | self.act(cx);
            let Some(endpoint) = &mut self.endpoint else {
                return Poll::Ready(());
            };
            let said_goodbye = !moved && endpoint.codec().is_finished();
            if self.player.heard.over || said_goodbye {
                return Poll::Ready(());
            }
            // A write that fails is found out by reading.
            if self.closing {
                self.closing = endpoint.poll_close_unpin(cx).is_pending();
            } else {
                let _flushed = endpoint.poll_flush_unpin(cx);
            }
            if !moved {
                return self.sleep(cx);
            }
        }
    }

    fn hear(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(endpoint) = self.endpoint.as_mut().filter(|_| !self.paused) else {
            return false;
        };
        match endpoint.poll_next_unpin(cx) {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(event))) => self.player.hear(now(), event),
            Poll::Ready(Some(Err(_)) | None) => self.player.lose(),
        }
        true
    }

    fn act(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(endpoint) = &mut self.endpoint else {
            return false;
        };
        if !endpoint.codec().is_ready() || endpoint.poll_ready_unpin(cx).is_pending() {
            return false;
        }
        match self.player.next(now()) {
            Next::Say(event) => {
                let _gone = endpoint.start_send_unpin(event);
            }
            Next::Keepalive => endpoint.send_keepalive(),
            Next::Reading(reading) => self.paused = !reading,
            Next::HangUp(HangUp::Fin) => {
                self.closing = true;
            }
            Next::HangUp(how) => {
                if how == HangUp::Reset {
                    self.link.borrow_mut().abort(self.side, now());
                }
                self.endpoint = None;
            }
            Next::Wait | Next::Done => return false,
        }
        true
    }

    fn sleep(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.player.deadline() else {
            return Poll::Pending;
        };
        let mut sleep = Box::pin(tokio::time::sleep_until(deadline.into()));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.alarm = Some(sleep);
        Poll::Pending
    }
}
