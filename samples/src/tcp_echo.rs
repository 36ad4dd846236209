//! tcp-echo: every line comes back with a word in front, which tells the versions apart.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::serve::{Stop, accept};

/// The longest line that is echoed, with its line end.
const LONGEST_LINE: usize = 64 * 1024;

/// Serves until `shutdown` resolves and the lines in hand are echoed.
pub(crate) async fn serve(listener: TcpListener, prefix: &'static str, shutdown: impl Future<Output = ()> + Send) {
    accept(listener, shutdown, |stream, _, stop| connection(stream, prefix, stop)).await;
}

async fn connection(mut stream: TcpStream, prefix: &'static str, mut stop: Stop) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        // A line that has begun but not ended when it is time to stop is not in hand yet.
        let line = tokio::select! {
            line = read_line(&mut reader) => line,
            () = stop.requested() => break,
        };
        match line {
            Ok(Some(line)) if line.len() <= LONGEST_LINE => {
                if echo(&mut writer, prefix, &line).await.is_err() {
                    return;
                }
            }
            Ok(Some(_)) => {
                let message = format!("error: a line has at most {LONGEST_LINE} bytes\n");
                let _ = echo(&mut writer, prefix, message.as_bytes()).await;
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    let _ = writer.shutdown().await;
}

/// The next line with its end; the last one may have none. One byte more than is allowed is read of a line that is too long.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = reader.take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok((read > 0).then_some(line))
}

async fn echo(writer: &mut (impl AsyncWrite + Unpin), prefix: &str, line: &[u8]) -> io::Result<()> {
    let mut answer = Vec::with_capacity(prefix.len() + 1 + line.len());
    answer.extend_from_slice(prefix.as_bytes());
    answer.push(b' ');
    answer.extend_from_slice(line);
    writer.write_all(&answer).await
}
