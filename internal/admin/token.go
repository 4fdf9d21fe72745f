package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// minToken is the shortest token taken, in characters.
const minToken = 16

// NewToken makes a token of 256 random bits.
func NewToken() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// WriteToken writes a token to a file that only its owner can read, and makes
// the file's directory likewise where it is missing. An old file is replaced.
func WriteToken(path, token string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write admin token: %w", err)
	}
	// CreateTemp makes the file with mode 0600; renaming it leaves no moment at
	// which a file that was there before shows the new token to its readers.
	f, err := os.CreateTemp(dir, ".token-*")
	if err != nil {
		return fmt.Errorf("write admin token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write admin token: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// ReadToken reads a token from a file; white space around it is left out. A
// file that is missing is made with a new token.
func ReadToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		token := NewToken()
		return token, WriteToken(path, token)
	}
	if err != nil {
		return "", fmt.Errorf("read admin token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if err := checkToken(token); err != nil {
		return "", fmt.Errorf("read admin token %s: %w", path, err)
	}
	return token, nil
}

func checkToken(token string) error {
	if len(token) < minToken {
		return fmt.Errorf("want a token of %d characters or more, got %d", minToken, len(token))
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("want a token of printable ASCII without spaces")
		}
	}
	return nil
}

// secret compares tokens in a time that says nothing of either, not even the
// length.
type secret [sha256.Size]byte

func newSecret(token string) secret { return sha256.Sum256([]byte(token)) }

func (s secret) is(token string) bool {
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(s[:], got[:]) == 1
}
