//! One client's connection: request after request is forwarded, each on a connection of its own to the server.

use std::io::{BufReader, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use super::fault::{Fault, Refusal};
use super::message::{Body, Head, pass};
use super::operation::operation;
use super::{Shared, reset};

/// What becomes of the client's connection after a request.
#[derive(PartialEq, Eq)]
enum After {
    GoesOn,
    Ends,
}

/// Serves a connection until it ends.
pub fn serve(shared: &Shared, client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let _watched = shared.watch(&client)?;
    let mut client = BufReader::new(client);
    while let Some(request) = Head::read(&mut client)? {
        if one(shared, &mut client, request)? == After::Ends {
            break;
        }
    }
    Ok(())
}

/// One request and its answer.
fn one(shared: &Shared, client: &mut BufReader<TcpStream>, mut request: Head) -> Result<After> {
    let (method, target) = request.words();
    let (method, target) = (method.to_owned(), target.to_owned());
    let fault = shared.meet(operation(&request), &method, &target);
    if request.get("expect").is_some() {
        client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        request.remove("expect");
    }
    match &fault {
        Some(Fault::Late(time)) => shared.delay(*time),
        Some(Fault::Refused(refusal)) => {
            pass(client, &mut std::io::sink(), request.request_body(), None)?;
            return refuse(client.get_mut(), refusal, &method, &target);
        }
        Some(Fault::Lost) => {
            reset(client.get_ref())?;
            return Ok(After::Ends);
        }
        Some(Fault::Silence) => {
            pass(client, &mut std::io::sink(), request.request_body(), None)?;
            shared.keep_silent(client.get_ref())?;
            reset(client.get_ref())?;
            return Ok(After::Ends);
        }
        _ => {}
    }
    let server = TcpStream::connect(shared.server)?;
    server.set_nodelay(true)?;
    let _watched = shared.watch(&server)?;
    let mut server = BufReader::new(server);
    request.write(server.get_mut())?;
    pass(client, server.get_mut(), request.request_body(), None)?;
    answer(shared, client, &mut server, &method, fault.as_ref())
}

/// Passes the answer on, as far as the fault lets it.
fn answer(
    shared: &Shared,
    client: &mut BufReader<TcpStream>,
    server: &mut BufReader<TcpStream>,
    method: &str,
    fault: Option<&Fault>,
) -> Result<After> {
    let Some(mut head) = Head::read(server)? else { return Ok(After::Ends) };
    let body = head.answer_body(method);
    let to = client.get_mut();
    match *fault.unwrap_or(&Fault::Late(std::time::Duration::ZERO)) {
        Fault::AnswerLost => {
            // It has been carried out once its whole answer is there.
            pass(server, &mut std::io::sink(), body, None)?;
            reset(to)?;
            return Ok(After::Ends);
        }
        Fault::Cut(size) | Fault::Short(size) => {
            head.write(to)?;
            pass(server, to, body, Some(size))?;
            if matches!(fault, Some(Fault::Cut(_))) {
                // What is still in the buffers would be lost with the reset: the client has these bytes first.
                drain(to)?;
                reset(to)?;
            } else {
                to.shutdown(std::net::Shutdown::Write)?;
            }
            return Ok(After::Ends);
        }
        Fault::Understated(size) => {
            head.remove("transfer-encoding");
            head.set("Content-Length", size.to_string());
            head.write(to)?;
            pass(server, to, Body::Sized(size), None)?;
            return Ok(After::Ends);
        }
        Fault::OtherTag => {
            head.set("ETag", "\"0123456789abcdef0123456789abcdef\"");
            head.write(to)?;
            pass(server, to, body, None)?;
        }
        _ => {
            if let Body::Sized(length) = body {
                shared.announced.fetch_add(length, Ordering::SeqCst);
            }
            head.write(to)?;
            pass(server, to, body, None)?;
        }
    }
    Ok(if body == Body::ToTheEnd || head.ends_connection() { After::Ends } else { After::GoesOn })
}

/// Waits until the other side has all that was written.
fn drain(stream: &TcpStream) -> Result<()> {
    loop {
        let mut unsent: nix::libc::c_int = 0;
        // SAFETY: SIOCOUTQ writes one int, which lives here, and the descriptor is open.
        let asked = unsafe {
            nix::libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(stream), nix::libc::TIOCOUTQ, &mut unsent)
        };
        if asked != 0 {
            return Err(std::io::Error::last_os_error());
        }
        if unsent == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
}

/// Answers in the server's place.
fn refuse(to: &mut TcpStream, refusal: &Refusal, method: &str, target: &str) -> Result<After> {
    let Refusal { status, code, headers } = refusal;
    let resource = target.split('?').next().unwrap_or_default();
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>Injected by the proxy.\
         </Message><Resource>{resource}</Resource><RequestId>0</RequestId></Error>"
    );
    let mut head = Head { first: format!("HTTP/1.1 {status} {code}"), headers: Vec::new() };
    head.set("Content-Type", "application/xml");
    head.set("Content-Length", text.len().to_string());
    head.set("x-ms-error-code", *code);
    headers.iter().for_each(|(name, value)| head.set(name, value));
    head.write(to)?;
    if method != "HEAD" {
        to.write_all(text.as_bytes())?;
    }
    Ok(After::GoesOn)
}
