//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on.
//!
//! Only the header is read from the stream, not a byte behind it: that is the client's.

use std::io;
use std::net::SocketAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// What both versions can be told apart by, and the shorter of their first parts.
const START_BYTES: usize = 12;
const V2_SIGNATURE: &[u8; START_BYTES] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1.
const V1_BYTES: usize = 107;
/// Addresses and a few extensions. The protocol would allow 64 KiB.
const V2_BYTES: usize = 4096;

/// Reads a header. The client's address, or none where the balancer speaks for itself (a health check).
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; START_BYTES];
    stream.read_exact(&mut header).await?;
    if header == V2_SIGNATURE {
        read_v2(stream, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        read_v1(stream, &mut header).await?;
    } else {
        return Err(refused("the connection does not begin with a PROXY header"));
    }
    source(&header)
}

async fn read_v2(stream: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed).await?;
    header.extend_from_slice(&fixed);
    let [_, _, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES {
        return Err(refused("the PROXY header is too long"));
    }
    let start = header.len();
    header.resize(start + length, 0);
    stream.read_exact(header.get_mut(start..).unwrap_or_default()).await?;
    Ok(())
}

async fn read_v1(stream: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\r\n") {
        if header.len() >= V1_BYTES {
            return Err(refused("the PROXY header does not end"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

fn source(header: &[u8]) -> io::Result<Option<SocketAddr>> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(tcp)) => Some((tcp.source_address, tcp.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(tcp)) => Some((tcp.source_address, tcp.source_port).into()),
            _ => None,
        }),
        HeaderResult::V1(Err(error)) => Err(refused(&error.to_string())),
        HeaderResult::V2(Err(error)) => Err(refused(&error.to_string())),
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is read of a header, and what is left behind it.
    async fn read_from(sent: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        drop(client);
        let outcome = read(&mut server).await;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        (outcome, rest)
    }

    #[tokio::test]
    async fn both_versions_are_understood() {
        let (source, rest) = read_from(b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\nGET /").await;
        assert_eq!((source.unwrap(), rest.as_slice()), (Some("192.0.2.7:4711".parse().unwrap()), &b"GET /"[..]));
        let (source, _) = read_from(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n").await;
        assert_eq!(source.unwrap(), Some("[2001:db8::7]:4711".parse().unwrap()));
        let (source, rest) = read_from(b"PROXY UNKNOWN\r\nGET /").await;
        assert_eq!((source.unwrap(), rest.as_slice()), (None, &b"GET /"[..]));

        let mut header = V2_SIGNATURE.to_vec();
        header.extend_from_slice(&[0x21, 0x11, 0, 12, 192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
        header.extend_from_slice(b"GET /");
        let (source, rest) = read_from(&header).await;
        assert_eq!((source.unwrap(), rest.as_slice()), (Some("192.0.2.7:4711".parse().unwrap()), &b"GET /"[..]));
        let mut local = V2_SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        assert_eq!(read_from(&local).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let mut long = V2_SIGNATURE.to_vec();
        long.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        for sent in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 x y 1 2\r\n", b"PROXY", endless.as_bytes(), &long] {
            assert!(read_from(sent).await.0.is_err(), "{}", String::from_utf8_lossy(sent));
        }
    }
}
