//! The bearer token from its file.

use secrecy::SecretString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest token file, in bytes.
const MAX_BYTES: u64 = 4096;

/// A file that gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("the token file {path} cannot be read: {why}", path = .0.display(), why = .1)]
    Unreadable(PathBuf, io::Error),
    /// There is nothing in it.
    #[error("the token file {} is empty", .0.display())]
    Empty(PathBuf),
    /// No token is as long.
    #[error("the token file {} is longer than {MAX_BYTES} bytes: is it the right one?", .0.display())]
    TooLong(PathBuf),
}

/// The token in a file, or on standard input for `-`, without the space around it.
///
/// # Errors
/// [`TokenError`], which names the file.
pub fn read_token(path: &Path) -> Result<SecretString, TokenError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    read.map_err(|error| TokenError::Unreadable(path.to_owned(), error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(TokenError::TooLong(path.to_owned()));
    }
    match text.trim() {
        "" => Err(TokenError::Empty(path.to_owned())),
        token => Ok(token.to_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_token_is_what_the_file_has_and_a_wrong_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_token(&path)
        };
        assert_eq!(read(" s3cret\n").unwrap().expose_secret(), "s3cret");
        assert!(matches!(read(" \n"), Err(TokenError::Empty(_))));
        let long = read(&"x".repeat(5_000)).unwrap_err().to_string();
        assert!(long.contains("4096") && long.contains("token"), "{long}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_token(&path), Err(TokenError::Unreadable(..))));
    }
}
