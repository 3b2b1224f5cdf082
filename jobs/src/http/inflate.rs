//! Decompression in small steps, so that a bomb is found out after as much as is allowed, not after it has gone off.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use super::body::{BodyError, Encoding};

/// The largest zstd window, as a power of two: 8 MiB, which is what every decoder must be able to do.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much a decompressor gives in one step.
const STEP_BYTES: usize = 32 << 10;

/// Decompresses a body, a few KiB at a time.
pub(super) enum Decoder {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd { decoder: ZstdDecoder<'static>, step: Vec<u8>, whole: bool },
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Result<Self, BodyError> {
        Ok(match encoding {
            Encoding::Identity => Self::Identity,
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::with_capacity(STEP_BYTES)))),
            Encoding::Zstd => {
                let mut decoder = ZstdDecoder::new().map_err(|error| corrupt("zstd", &error))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|error| corrupt("zstd", &error))?;
                Self::Zstd { decoder, step: vec![0; STEP_BYTES], whole: true }
            }
        })
    }

    /// Takes some of the input, and gives what it makes of it. How much it took; it may take none while it still gives.
    pub(super) fn step(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, BodyError> {
        match self {
            Self::Identity => {
                output.extend_from_slice(input);
                Ok(input.len())
            }
            Self::Gzip(decoder) => {
                let taken = decoder.write(input).map_err(|error| corrupt("gzip", &error))?;
                let given = decoder.get_mut();
                if taken == 0 && given.is_empty() {
                    return Err(corrupt("gzip", &io::Error::other("something stands behind its end")));
                }
                output.append(given);
                Ok(taken)
            }
            Self::Zstd { decoder, step, whole } => {
                let status = decoder.run_on_buffers(input, step).map_err(|error| corrupt("zstd", &error))?;
                *whole = status.remaining == 0;
                output.extend_from_slice(step.get(..status.bytes_written).unwrap_or_default());
                Ok(status.bytes_read)
            }
        }
    }

    /// The input has ended: gives the rest.
    pub(super) fn finish(&mut self, output: &mut Vec<u8>) -> Result<(), BodyError> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|error| corrupt("gzip", &error))?;
                output.append(decoder.get_mut());
                Ok(())
            }
            Self::Zstd { decoder, step, whole } => {
                while !*whole {
                    let status = decoder.run_on_buffers(&[], step).map_err(|error| corrupt("zstd", &error))?;
                    output.extend_from_slice(step.get(..status.bytes_written).unwrap_or_default());
                    *whole = status.remaining == 0;
                    if status.bytes_written == 0 && !*whole {
                        return Err(corrupt("zstd", &io::Error::other("it breaks off")));
                    }
                }
                Ok(())
            }
        }
    }
}

fn corrupt(encoding: &'static str, error: &io::Error) -> BodyError {
    BodyError::Corrupt { encoding, reason: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// Decompresses in pieces of `piece` bytes; the most that one step gave, and everything.
    fn inflate(encoding: Encoding, sent: &[u8], piece: usize) -> Result<(usize, Vec<u8>), BodyError> {
        let mut decoder = Decoder::new(encoding)?;
        let (mut most, mut output) = (0, Vec::new());
        for mut rest in sent.chunks(piece) {
            while !rest.is_empty() {
                let before = output.len();
                let taken = decoder.step(rest, &mut output)?;
                most = most.max(output.len() - before);
                rest = &rest[taken..];
            }
        }
        let before = output.len();
        decoder.finish(&mut output)?;
        Ok((most.max(output.len() - before), output))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(bytes: &[u8]) -> [(Encoding, Vec<u8>); 2] {
        [(Encoding::Gzip, gzip(bytes)), (Encoding::Zstd, zstd::encode_all(bytes, 3).unwrap())]
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let text: Vec<u8> = (0..300_000u32).map(|number| ((number * number) >> 7) as u8).collect();
        for bytes in [&text[..], b"", b"x"] {
            for (encoding, sent) in compressed(bytes) {
                for piece in [1, 7, 1000, usize::MAX] {
                    assert_eq!(inflate(encoding, &sent, piece).unwrap().1, bytes, "{encoding:?} by {piece}");
                }
                let twice = [sent.clone(), sent].concat();
                assert_eq!(inflate(encoding, &twice, 100).unwrap().1, [bytes, bytes].concat(), "{encoding:?} twice");
            }
        }
    }

    #[test]
    fn a_bomb_goes_off_in_small_steps() {
        let zeros = vec![0; 50_000_000];
        for (encoding, sent) in compressed(&zeros) {
            let (most, output) = inflate(encoding, &sent, usize::MAX).unwrap();
            assert_eq!(output.len(), zeros.len());
            assert!(most <= 4 * STEP_BYTES, "{encoding:?}: {most} bytes in one step");
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_such_thing_is_refused() {
        for (encoding, sent) in compressed(&b"click".repeat(1000)) {
            for cut in [1, 5, sent.len() / 2, sent.len() - 1] {
                assert!(inflate(encoding, &sent[..cut], 64).is_err(), "{encoding:?} cut to {cut}");
            }
            assert!(inflate(encoding, b"{\"ad_id\":\"A\"}", 64).is_err(), "{encoding:?}");
            let behind = [&sent[..], b"garbage"].concat();
            assert!(inflate(encoding, &behind, 64).is_err(), "{encoding:?} with garbage behind");
        }
        let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        wide.window_log(27).unwrap();
        wide.write_all(b"x").unwrap();
        assert!(inflate(Encoding::Zstd, &wide.finish().unwrap(), 64).is_err(), "a window of 128 MiB");
    }
}
