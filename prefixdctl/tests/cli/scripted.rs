//! A daemon that says what a test wants: each route has its answers in turn, the last for good, and every request is
//! remembered.

use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Method and path with query, as requested.
pub(crate) type Route = (&'static str, String);

type Answers = Mutex<HashMap<Route, VecDeque<Answer>>>;

/// The status of no answer.
const CUT: u16 = 0;

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

pub(crate) struct Daemon {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Seen>>>,
}

/// A request as it came: `METHOD PATH`, its header lines in lower case, its body.
#[derive(Clone, Debug)]
struct Seen {
    route: String,
    headers: Vec<String>,
    body: String,
}

impl Daemon {
    /// Answers each route, one that is named several times in turn; other routes are a 404 problem.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Route, Answer)>) -> Self {
        Self::start(routes, None)
    }

    fn start(routes: impl IntoIterator<Item = (Route, Answer)>, feed: Option<Vec<Value>>) -> Self {
        let mut answers: HashMap<_, VecDeque<_>> = HashMap::new();
        for (route, answer) in routes {
            answers.entry(route).or_default().push_back(answer);
        }
        let routes = Arc::new(Mutex::new(answers));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (routes, seen, feed) = (Arc::clone(&routes), Arc::clone(&seen), feed.clone());
                thread::spawn(move || match feed {
                    Some(messages) if wants_feed(stream.as_ref().unwrap()) => {
                        say(stream.unwrap(), messages, &seen);
                    }
                    _ => serve(stream.unwrap(), &routes, &seen),
                });
            }
        });
        Self { url, requests }
    }

    /// The same, with a feed that says these messages and then nothing more.
    pub(crate) fn with_feed(routes: impl IntoIterator<Item = (Route, Answer)>, messages: Vec<Value>) -> Self {
        Self::start(routes, Some(messages))
    }

    /// `METHOD PATH` and body of all requests.
    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        let seen = self.requests.lock().unwrap();
        seen.iter()
            .map(|request| (request.route.clone(), request.body.clone()))
            .collect()
    }

    /// What the requests to one route say in a header.
    pub(crate) fn header(&self, route: &str, name: &str) -> Vec<Option<String>> {
        let seen = self.requests.lock().unwrap();
        let value = |request: &Seen| {
            let mut lines = request.headers.iter();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
        };
        seen.iter()
            .filter(|request| request.route == route)
            .map(value)
            .collect()
    }

    /// Bodies of the requests to one route.
    pub(crate) fn bodies(&self, route: &str) -> Vec<Value> {
        self.requests()
            .into_iter()
            .filter(|(requested, _)| requested == route)
            .map(|(_, body)| serde_json::from_str(&body).unwrap())
            .collect()
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        command(&self.url, arguments).output().unwrap()
    }

    pub(crate) fn exit(&self, arguments: &[&str]) -> i32 {
        let output = self.ctl(arguments);
        output.status.code().unwrap_or_else(|| panic!("{output:?}"))
    }
}

/// The program without a terminal and without settings from outside.
pub(crate) fn command(api: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prefixdctl"));
    command
        .env_clear()
        .args(["--api", api])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn ok(body: &Value) -> Answer {
    Answer {
        status: 200,
        headers: vec![("x-prefixd-head", "41".to_owned())],
        body: body.to_string(),
    }
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Answer {
    let body = serde_json::json!({"type": "about:blank", "title": "t", "status": status, "code": code,
        "detail": detail, "request_id": "r1", "retry_after_seconds": null});
    Answer {
        status,
        headers: Vec::new(),
        body: body.to_string(),
    }
}

/// Takes the request, and the connection is cut before the answer.
pub(crate) fn cut() -> Answer {
    Answer {
        status: CUT,
        headers: Vec::new(),
        body: String::new(),
    }
}

pub(crate) fn get(path: &str) -> Route {
    ("GET", path.to_owned())
}

pub(crate) fn post(path: &str) -> Route {
    ("POST", path.to_owned())
}

pub(crate) fn delete(path: &str) -> Route {
    ("DELETE", path.to_owned())
}

fn wants_feed(stream: &TcpStream) -> bool {
    let start = b"GET /v1/ws/feed";
    let mut bytes = [0; 15];
    while stream.peek(&mut bytes).unwrap() < start.len() {}
    bytes == *start
}

fn say(stream: TcpStream, messages: Vec<Value>, seen: &Mutex<Vec<Seen>>) {
    let remember = |request: &Request, response: Response| {
        let route = format!("GET {}", request.uri());
        seen.lock().unwrap().push(Seen {
            route,
            headers: Vec::new(),
            body: String::new(),
        });
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, remember).unwrap();
    for message in messages {
        socket
            .send(tungstenite::Message::text(message.to_string()))
            .unwrap();
    }
    // Until the other side leaves.
    while socket.read().is_ok() {}
}

fn serve(stream: TcpStream, routes: &Answers, seen: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let (mut length, mut headers) = (0, Vec::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            let header = header.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            headers.push(header);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        seen.lock().unwrap().push(Seen {
            route: format!("{method} {path}"),
            headers,
            body: String::from_utf8(body).unwrap(),
        });
        let found = routes
            .lock()
            .unwrap()
            .iter_mut()
            .find(|((known, route), _)| *known == method && *route == path)
            .and_then(|(_, answers)| match answers.len() {
                0 | 1 => answers.front().cloned(),
                _ => answers.pop_front(),
            });
        let answer = found.unwrap_or_else(|| problem(404, "not_found", "no such route"));
        if answer.status == CUT {
            return;
        }
        let headers: String = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\n{headers}\r\n",
            answer.status,
            answer.body.len()
        );
        if writer
            .write_all(head.as_bytes())
            .and_then(|()| writer.write_all(answer.body.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}
