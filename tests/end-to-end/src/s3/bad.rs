//! [`BadS3`]: as much of S3 as Coverline needs, in the memory of the test, with manners that a test chooses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::TestResult;

/// How long a PUT that has looked waits for another that looks, so that both store.
const COMPANY_TIME_MAX: Duration = Duration::from_secs(10);

/// How it treats a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// As S3 does: with `If-None-Match: *` only where there is nothing.
    Good,
    /// Does not look at conditions.
    IgnoresConditions,
    /// Looks first and stores later, so that several who looked at the same time all store.
    LooksBeforeItStores,
    /// Knows no conditions, and says so.
    RefusesConditions,
    /// Lets nobody write.
    RefusesWrites,
    /// Stores, and then hangs up instead of answering.
    LosesAnswers,
}

/// A store in memory behind a port of its own. Looks at no signature.
#[derive(Debug)]
pub struct BadS3 {
    port: u16,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    manners: Manners,
    /// By bucket and key.
    objects: BTreeMap<String, Vec<u8>>,
    puts: u64,
    /// How many conditional PUTs found nothing, by key.
    looked: watch::Sender<BTreeMap<String, u32>>,
}

impl BadS3 {
    /// Starts one.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(manners: Manners) -> TestResult<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State {
            manners,
            objects: BTreeMap::new(),
            puts: 0,
            looked: watch::Sender::new(BTreeMap::new()),
        }));
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away is its own business.
                    let _ended = connection(stream, state).await;
                });
            }
        });
        Ok(Self { port, state, serving })
    }

    /// Changes its manners from now on.
    pub fn behave(&self, manners: Manners) {
        lock(&self.state).manners = manners;
    }

    /// PUTs that came so far.
    pub fn puts(&self) -> u64 {
        lock(&self.state).puts
    }

    /// Keys that start so, the bucket in front.
    pub fn keys(&self, start: &str) -> Vec<String> {
        lock(&self.state).objects.keys().filter(|key| key.starts_with(start)).cloned().collect()
    }

    /// How clients reach it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "not-shown-to-anybody".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

impl Drop for BadS3 {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that was read.
struct Request {
    method: String,
    /// Bucket and key, decoded as far as our keys need it.
    key: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// An answer; `None` hangs up.
type Answer = Option<(u16, Vec<(String, String)>, Vec<u8>)>;

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) -> TestResult {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let is_head = request.method == "HEAD";
        let Some((status, headers, body)) = answer(&state, request).await else { return Ok(()) };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.get_mut().write_all(head.as_bytes()).await?;
        if !is_head {
            stream.get_mut().write_all(&body).await?;
        }
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> TestResult<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let method = words.next().ok_or("no method")?.to_owned();
    let target = words.next().ok_or("no target")?.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let key = path.trim_start_matches('/').to_owned();
    Ok(Some(Request { method, key, query: query.replace("%2F", "/"), headers, body }))
}

async fn answer(state: &Mutex<State>, request: Request) -> Answer {
    match request.method.as_str() {
        "PUT" => put(state, request).await,
        "GET" if request.query.contains("list-type=2") => Some(list(&lock(state), &request)),
        "GET" | "HEAD" => Some(get(&lock(state), &request)),
        "POST" if request.query.starts_with("delete") => {
            let bucket = request.key.trim_end_matches('/');
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let mut state = lock(state);
            for rest in body.split("<Key>").skip(1) {
                let key = rest.split("</Key>").next().unwrap_or_default();
                state.objects.remove(&format!("{bucket}/{key}"));
            }
            Some((200, Vec::new(), b"<DeleteResult></DeleteResult>".to_vec()))
        }
        _ => Some(error(501, "NotImplemented", "this test needs no such request")),
    }
}

async fn put(state: &Mutex<State>, request: Request) -> Answer {
    let conditional = request.headers.contains_key("if-none-match");
    let (manners, exists) = {
        let mut state = lock(state);
        state.puts += 1;
        (state.manners, state.objects.contains_key(&request.key))
    };
    let taken = || Some(error(412, "PreconditionFailed", "there is such an object"));
    match manners {
        Manners::RefusesWrites => return Some(error(403, "AccessDenied", "Access Denied.")),
        Manners::RefusesConditions if conditional => {
            return Some(error(501, "NotImplemented", "If-None-Match is not implemented"));
        }
        Manners::Good | Manners::LosesAnswers if conditional && exists => return taken(),
        Manners::LooksBeforeItStores if conditional => {
            if exists {
                return taken();
            }
            let mut looked = lock(state).looked.subscribe();
            lock(state).looked.send_modify(|looked| {
                *looked.entry(request.key.clone()).or_default() += 1;
            });
            let in_company = looked.wait_for(|looked| looked.get(&request.key) >= Some(&2));
            // Whoever stays alone stores all the same.
            let _alone = tokio::time::timeout(COMPANY_TIME_MAX, in_company).await.is_err();
        }
        _ => {}
    }
    let mut state = lock(state);
    if matches!(manners, Manners::Good | Manners::LosesAnswers)
        && conditional
        && state.objects.contains_key(&request.key)
    {
        return taken();
    }
    state.objects.insert(request.key, request.body);
    if manners == Manners::LosesAnswers {
        return None;
    }
    Some((200, vec![("ETag".to_owned(), "\"0\"".to_owned())], Vec::new()))
}

fn get(state: &State, request: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let Some(object) = state.objects.get(&request.key) else {
        return error(404, "NoSuchKey", "there is no such object");
    };
    let modified = ("Last-Modified".to_owned(), "Wed, 01 Jan 2025 00:00:00 GMT".to_owned());
    let mut headers = vec![("ETag".to_owned(), "\"0\"".to_owned()), modified];
    let range = request.headers.get("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?.min(object.len() - 1)))
    });
    match range {
        Some((start, end)) => {
            let text = format!("bytes {start}-{end}/{}", object.len());
            headers.push(("Content-Range".to_owned(), text));
            (206, headers, object[start..=end].to_vec())
        }
        None => (200, headers, object.clone()),
    }
}

fn list(state: &State, request: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let parameter = |name: &str| {
        let mut pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    };
    let bucket = request.key.trim_end_matches('/');
    let prefix = parameter("prefix").unwrap_or_default();
    let mut folders = std::collections::BTreeSet::new();
    let mut body = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    for (key, object) in &state.objects {
        let Some(key) = key.strip_prefix(bucket).and_then(|key| key.strip_prefix('/')) else {
            continue;
        };
        let Some(rest) = key.strip_prefix(prefix.as_str()) else { continue };
        match rest.split_once('/').filter(|_| parameter("delimiter").is_some()) {
            Some((folder, _)) => {
                folders.insert(format!("{prefix}{folder}/"));
            }
            None => {
                body += &format!(
                    "<Contents><Key>{key}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified><ETag>0</ETag>\
                     <Size>{}</Size></Contents>",
                    object.len()
                );
            }
        }
    }
    for folder in folders {
        body += &format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    body += "</ListBucketResult>";
    (200, Vec::new(), body.into_bytes())
}

fn error(status: u16, code: &str, message: &str) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    (status, Vec::new(), body.into_bytes())
}
