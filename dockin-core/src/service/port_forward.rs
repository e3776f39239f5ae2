use std::{
    collections::HashMap,
    io,
    num::NonZeroU16,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use dockin_stream::{
    ProtocolError, limits,
    portforward::{Client, ForwardId, PortForwardEvent, Server},
    upgrade::Protocol,
    websocket::Tunnel,
};
use hyper::upgrade::OnUpgrade;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::mpsc,
    task::AbortHandle,
};
use tokio_util::sync::PollSender;

use super::{BoxIo, upgraded};
use crate::{
    Error, ErrorKind,
    access::Permit,
    runtime::{PortStream, Runtime},
};

/// Connects to the ports that a port-forward session asks for.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A connection to `port`.
    ///
    /// # Errors
    ///
    /// The client is told the message.
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error>;
}

/// Dials through a runtime, under one permit.
pub struct RuntimeDialer {
    runtime: Arc<dyn Runtime>,
    permit: Permit,
}

impl RuntimeDialer {
    /// A dialer for the permit's pod.
    pub fn new(runtime: Arc<dyn Runtime>, permit: Permit) -> Self {
        Self { runtime, permit }
    }
}

#[async_trait]
impl Dial for RuntimeDialer {
    async fn dial(&self, port: u16) -> Result<Box<dyn PortStream>, Error> {
        self.runtime.dial(&self.permit, port).await
    }
}

/// How a port-forward session ended, and what it carried.
#[derive(Debug, Default)]
pub struct PortsEnd {
    /// Connections that were asked for.
    pub connections: u64,
    /// Why it ended, unless the client ended it.
    pub error: Option<String>,
}

/// Serves a port-forward session to its end: each connection that the client opens is dialled
/// and carried, and one connection's failure leaves the others alone.
pub async fn serve_ports(upgrade: OnUpgrade, protocol: Protocol, dial: Arc<dyn Dial>) -> PortsEnd {
    let mut end = PortsEnd::default();
    let wire = match protocol {
        Protocol::SpdyPorts => Wire::Plain,
        Protocol::TunnelledPorts => Wire::Tunnelled(Box::new(Tunnel::server())),
        Protocol::WebSocket(_) | Protocol::Spdy(_) => {
            end.error = Some("not a port-forward protocol".to_owned());
            return end;
        }
    };
    let result = match upgraded(upgrade).await {
        Ok((socket, early)) => {
            let mut driver = Driver::new(Server::new(), wire, early);
            driver.run(socket, dial, &mut end).await
        }
        Err(error) => Err(error),
    };
    end.error = result.err().map(|error| error.chain());
    end
}

/// How SPDY's bytes lie on the connection.
enum Wire {
    Plain,
    /// In WebSocket messages, whose borders mean nothing.
    Tunnelled(Box<Tunnel>),
}

/// What a connection's task tells the driver.
enum FromPort {
    Data(Bytes),
    Ended,
    Failed(String),
}

/// What the driver tells a connection's task.
enum ToPort {
    Data(Bytes),
    Ended,
}

struct Port {
    to: mpsc::UnboundedSender<ToPort>,
    waiting: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    server: Server,
    wire: Wire,
    input: BytesMut,
    frames: BytesMut,
    output: BytesMut,
    ports: HashMap<ForwardId, Port>,
}

/// Proof of life: below the 30 s after which middle boxes forget a connection.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Bytes that may wait for one port before the whole session waits for it.
const MAX_WAITING: usize = 4 * 1024 * 1024;

impl Driver {
    fn new(server: Server, wire: Wire, early: Bytes) -> Self {
        Self {
            server,
            wire,
            input: BytesMut::from(early),
            frames: BytesMut::new(),
            output: BytesMut::new(),
            ports: HashMap::new(),
        }
    }

    async fn run(
        &mut self,
        socket: BoxIo,
        dial: Arc<dyn Dial>,
        end: &mut PortsEnd,
    ) -> Result<(), Error> {
        let (mut reader, mut writer) = tokio::io::split(socket);
        let (tell, mut told) = mpsc::channel::<(ForwardId, FromPort)>(16);
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        keepalive.tick().await;
        let mut crowded = tokio::time::interval(Duration::from_millis(20));
        crowded.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if !self.input.is_empty() {
            self.take_in()?;
        }
        loop {
            self.events(&dial, &tell, end);
            self.collect();
            if self.is_finished() && self.output.is_empty() {
                let _gone = writer.shutdown().await;
                return Ok(());
            }
            let room = self.output.len() < limits::HIGH_WATER;
            let stuck = self
                .ports
                .values()
                .any(|port| port.waiting.load(Ordering::Relaxed) > MAX_WAITING);
            let timeout = self.server.poll_timeout();
            let sleep = tokio::time::sleep_until(
                timeout.unwrap_or_else(|| Instant::now() + KEEPALIVE).into(),
            );
            tokio::select! {
                read = reader.read_buf(&mut self.input), if !stuck => {
                    let count = read.map_err(lost)?;
                    if count == 0 {
                        return Ok(());
                    }
                    self.take_in()?;
                }
                message = told.recv(), if room => {
                    if let Some((id, message)) = message {
                        self.handle_port(id, message);
                    }
                }
                written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                    written.map_err(lost)?;
                    if self.output.is_empty() {
                        writer.flush().await.map_err(lost)?;
                    }
                }
                () = sleep, if timeout.is_some() => {
                    self.server.handle_timeout(Instant::now()).map_err(broken)?;
                }
                _ = crowded.tick(), if stuck => {}
                _ = keepalive.tick() => match &mut self.wire {
                    Wire::Plain => self.server.send_keepalive(),
                    Wire::Tunnelled(tunnel) => tunnel.send_keepalive(),
                },
            }
        }
    }

    fn take_in(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        match &mut self.wire {
            Wire::Plain => self
                .server
                .handle_input(now, &mut self.input)
                .map_err(broken),
            Wire::Tunnelled(tunnel) => {
                tunnel.handle_input(&mut self.input).map_err(broken)?;
                while let Some(bytes) = tunnel.poll_bytes() {
                    self.frames.extend_from_slice(&bytes);
                }
                self.server
                    .handle_input(now, &mut self.frames)
                    .map_err(broken)
            }
        }
    }

    fn events(
        &mut self,
        dial: &Arc<dyn Dial>,
        tell: &mpsc::Sender<(ForwardId, FromPort)>,
        end: &mut PortsEnd,
    ) {
        while let Some(event) = self.server.poll_event() {
            match event {
                PortForwardEvent::Opened { connection, port } => {
                    end.connections += 1;
                    let (to, from) = mpsc::unbounded_channel();
                    let waiting = Arc::new(AtomicUsize::new(0));
                    let task = carry_port(
                        connection,
                        port,
                        Arc::clone(dial),
                        tell.clone(),
                        from,
                        Arc::clone(&waiting),
                    );
                    let task = tokio::spawn(task).abort_handle();
                    self.ports.insert(connection, Port { to, waiting, task });
                }
                PortForwardEvent::Data { connection, bytes } => {
                    if let Some(port) = self.ports.get(&connection) {
                        port.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
                        // A task that has ended has told so; what comes after goes nowhere.
                        let _ended = port.to.send(ToPort::Data(bytes));
                    }
                }
                PortForwardEvent::HalfClosed { connection } => {
                    if let Some(port) = self.ports.get(&connection) {
                        let _ended = port.to.send(ToPort::Ended);
                    }
                }
                PortForwardEvent::Failed { connection, .. }
                | PortForwardEvent::Closed { connection } => {
                    self.ports.remove(&connection);
                }
                _ => {}
            }
        }
    }

    fn handle_port(&mut self, id: ForwardId, message: FromPort) {
        match message {
            FromPort::Data(bytes) => self.server.send(id, bytes),
            FromPort::Ended => self.server.half_close(id),
            FromPort::Failed(message) => {
                self.server.fail(id, &message);
                self.ports.remove(&id);
            }
        }
    }

    fn collect(&mut self) {
        while self.output.len() < limits::HIGH_WATER {
            let Some(bytes) = self.server.poll_transmit() else {
                break;
            };
            match &mut self.wire {
                Wire::Plain => self.output.extend_from_slice(&bytes),
                Wire::Tunnelled(tunnel) => tunnel.send(bytes),
            }
        }
        if let Wire::Tunnelled(tunnel) = &mut self.wire {
            if self.server.is_finished() {
                tunnel.finish();
            }
            while let Some(bytes) = tunnel.poll_transmit() {
                self.output.extend_from_slice(&bytes);
            }
        }
    }

    fn is_finished(&self) -> bool {
        match &self.wire {
            Wire::Plain => self.server.is_finished(),
            Wire::Tunnelled(tunnel) => tunnel.is_eof() || tunnel.is_finished(),
        }
    }
}

fn lost(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "port-forward connection lost").with_source(error)
}

fn broken(error: ProtocolError) -> Error {
    Error::new(ErrorKind::Malformed, "port-forward protocol broken").with_source(error)
}

/// One forwarded connection: dials, then carries both directions, each to its own end.
async fn carry_port(
    id: ForwardId,
    port: NonZeroU16,
    dial: Arc<dyn Dial>,
    tell: mpsc::Sender<(ForwardId, FromPort)>,
    mut from: mpsc::UnboundedReceiver<ToPort>,
    waiting: Arc<AtomicUsize>,
) {
    let stream = match dial.dial(port.get()).await {
        Ok(stream) => stream,
        Err(error) => {
            let message = format!("failed to connect to port {port}: {}", error.chain());
            let _gone = tell.send((id, FromPort::Failed(message))).await;
            return;
        }
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let upwards = async {
        while let Some(message) = from.recv().await {
            match message {
                ToPort::Data(bytes) => {
                    let written = writer.write_all(&bytes).await;
                    waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    written?;
                }
                ToPort::Ended => break,
            }
        }
        writer.shutdown().await
    };
    let downwards = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(limits::READ_BUFFER);
            let count = reader.read_buf(&mut buffer).await?;
            if count == 0 {
                break;
            }
            if tell
                .send((id, FromPort::Data(buffer.split().freeze())))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        let _gone = tell.send((id, FromPort::Ended)).await;
        Ok::<(), io::Error>(())
    };
    // A writing side that fails does not cut what the port still says.
    let upwards = async {
        if let Err(error) = upwards.await {
            tracing::debug!(%error, "port stopped taking");
        }
    };
    let mut upwards = std::pin::pin!(upwards);
    let mut downwards = std::pin::pin!(downwards);
    let (down, up_ended) = tokio::select! {
        down = &mut downwards => (down, false),
        () = &mut upwards => (downwards.await, true),
    };
    match down {
        // The client need not say anything more to learn of it.
        Err(error) => {
            let message = format!("connection to port {port} lost: {error}");
            let _gone = tell.send((id, FromPort::Failed(message))).await;
        }
        Ok(()) if !up_ended => upwards.await,
        Ok(()) => {}
    }
}

/// Opens one connection to `port` over a port-forward session of its own, as the client of the
/// server behind `socket`.
///
/// Whether the port could be reached shows only later: a failure is an error of reading, with
/// the server's message.
///
/// # Errors
///
/// `Malformed` for port 0.
pub async fn dial_over_spdy(
    socket: BoxIo,
    early: Bytes,
    port: u16,
) -> Result<Box<dyn PortStream>, Error> {
    let mut client = Client::new();
    let opened = NonZeroU16::new(port).and_then(|port| client.open(port));
    let Some(id) = opened else {
        return Err(Error::new(
            ErrorKind::Malformed,
            "port 0 cannot be forwarded",
        ));
    };
    let (to_reader, reader) = mpsc::channel(16);
    let (to_socket, from_writer) = mpsc::channel(16);
    let pump = pump(
        client,
        id,
        socket,
        BytesMut::from(early),
        to_reader,
        from_writer,
    );
    let task = tokio::spawn(pump).abort_handle();
    Ok(Box::new(DialledPort {
        reader,
        current: Bytes::new(),
        writer: PollSender::new(to_socket),
        task,
    }))
}

async fn pump(
    mut client: Client,
    id: ForwardId,
    mut socket: BoxIo,
    mut input: BytesMut,
    to_reader: mpsc::Sender<io::Result<Bytes>>,
    mut from_writer: mpsc::Receiver<Bytes>,
) {
    let mut output = BytesMut::new();
    let mut writing = true;
    loop {
        if !input.is_empty()
            && let Err(error) = client.handle_input(Instant::now(), &mut input)
        {
            let _gone = to_reader.send(Err(io::Error::other(error))).await;
            return;
        }
        while let Some(event) = client.poll_event() {
            let item = match event {
                PortForwardEvent::Data { bytes, .. } => Ok(bytes),
                // An empty item is the end of the stream.
                PortForwardEvent::HalfClosed { .. } | PortForwardEvent::Closed { .. } => {
                    Ok(Bytes::new())
                }
                PortForwardEvent::Failed { message, .. } => Err(io::Error::other(message)),
                _ => continue,
            };
            // The far side waits while ours does not read: that is back-pressure.
            if to_reader.send(item).await.is_err() {
                return;
            }
        }
        while let Some(bytes) = client.poll_transmit() {
            output.extend_from_slice(&bytes);
        }
        if !output.is_empty() {
            if socket.write_all_buf(&mut output).await.is_err() || socket.flush().await.is_err() {
                let _gone = to_reader.send(Err(io::ErrorKind::BrokenPipe.into())).await;
                return;
            }
            continue;
        }
        tokio::select! {
            read = socket.read_buf(&mut input) => match read {
                Ok(0) => {
                    let _told = client.handle_eof(Instant::now());
                    let _gone = to_reader.send(Ok(Bytes::new())).await;
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    let _gone = to_reader.send(Err(error)).await;
                    return;
                }
            },
            bytes = from_writer.recv(), if writing => match bytes {
                Some(bytes) => client.send(id, bytes),
                None => {
                    client.half_close(id);
                    writing = false;
                }
            },
        }
    }
}

/// The near end of a dialled port.
struct DialledPort {
    reader: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    writer: PollSender<Bytes>,
    task: AbortHandle,
}

impl Drop for DialledPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AsyncRead for DialledPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.reader.poll_recv(cx)) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for DialledPort {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.writer.poll_reserve(cx)).is_err() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut chunk = bytes;
        let chunk = chunk.copy_to_bytes(bytes.len().min(limits::READ_BUFFER));
        let count = chunk.len();
        match self.writer.send_item(chunk) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.close();
        Poll::Ready(Ok(()))
    }
}
