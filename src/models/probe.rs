//! Looks whether an Ollama runs on this machine: one small question, a fifth of a second at most.
//! (<https://github.com/ollama/ollama/blob/main/docs/api.md#list-local-models>)

use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the question may take.
const WITHIN: Duration = Duration::from_millis(200);
/// Bytes of the answer.
const MAX_BYTES: u64 = 256 * 1024;

/// The first model of a server that answers as Ollama does. Over plain HTTP only: a local server has no certificate.
pub(super) async fn first_model(base_url: &str) -> Option<String> {
    let rest = base_url.strip_prefix("http://")?;
    let host = rest.split('/').next()?;
    let address = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let answer = timeout(WITHIN, ask(&address, host)).await.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if head.split(' ').nth(1).is_none_or(|status| status != "200") {
        return None;
    }
    let tags: Json = serde_json::from_str(body).ok()?;
    let name = tags["models"].get(0)?["name"].as_str()?;
    (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| name.to_owned())
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
async fn ask(address: &str, host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /api/tags HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn only_an_ollama_with_a_model_is_found() {
        let rows = [
            ("HTTP/1.0 200 OK\r\n\r\n{\"models\":[{\"name\":\"qwen3:8b\"},{\"name\":\"b\"}]}", Some("qwen3:8b")),
            ("HTTP/1.1 200 OK\r\nX: y\r\n\r\n{\"models\":[]}", None),
            ("HTTP/1.0 404 Not Found\r\n\r\n{\"models\":[{\"name\":\"a\"}]}", None),
            ("HTTP/1.0 200 OK\r\n\r\n<html>", None),
            ("", None),
        ];
        for (answer, expect) in rows {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("an address");
            let served = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("a caller");
                let mut asked = [0; 512];
                let n = stream.read(&mut asked).await.expect("read");
                stream.write_all(answer.as_bytes()).await.expect("written");
                String::from_utf8_lossy(&asked[..n]).into_owned()
            });
            assert_eq!(first_model(&format!("http://{address}/v1")).await.as_deref(), expect, "{answer}");
            assert!(served.await.expect("served").starts_with("GET /api/tags HTTP/1.0\r\n"), "{answer}");
        }
        assert_eq!(first_model("https://127.0.0.1:1/v1").await, None);
        assert_eq!(first_model("http://127.0.0.1:1/v1").await, None, "nobody listens there");
    }
}
