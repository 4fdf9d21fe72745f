package http1

import (
	"io"

	"github.com/understudy-proxy/understudy/fixtures"
)

// framing is how a body's end is found (RFC 9112, 6.3).
type framing uint8

const (
	noBody     framing = iota
	sized              // Content-Length
	chunked            // chunked transfer coding
	untilClose         // the connection's end
)

// chunkStep is where in a chunked body the next byte stands.
type chunkStep uint8

const (
	atSize chunkStep = iota
	inData
	atDataEnd
	inTrailer
)

const (
	// maxChunkLine bounds a chunk's size line, extensions included.
	maxChunkLine = 4 << 10
	// maxChunkWaste bounds what chunk lines may cost beyond the data, so that
	// tiny chunks with long extensions cannot keep us busy for nothing.
	maxChunkWaste = 16 << 10
	// maxTrailer bounds a trailer section.
	maxTrailer = 16 << 10
)

// bodyReader decodes one body. Its zero value is a body that has ended.
type bodyReader struct {
	src  *source
	mode framing
	left int64 // bytes of the body, or of the current chunk

	step    chunkStep
	waste   int64
	tail    int // bytes of trailer section read
	trailer fixtures.Header

	taken int64 // bytes handed out
	err   error // how it ended: io.EOF where it is complete
}

func (b *bodyReader) init(src *source, mode framing, length int64) {
	b.src, b.mode, b.left = src, mode, length
	if mode == noBody || mode == sized && length == 0 {
		b.err = io.EOF
	}
}

// read returns what has arrived, at most one chunk's worth, and io.EOF with
// the last bytes where the end is known by then.
func (b *bodyReader) read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.mode == chunked && b.step != inData {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	if b.mode != untilClose && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.src.readSome(p)
	b.taken += int64(n)
	if b.mode != untilClose {
		b.left -= int64(n)
	}
	switch {
	case err == io.EOF && b.mode == untilClose:
		b.err = io.EOF
		return n, io.EOF
	case err != nil:
		return n, b.fail(cutShort(err))
	case b.mode == sized && b.left == 0:
		b.err = io.EOF
		return n, io.EOF
	case b.mode == chunked && b.left == 0:
		b.step = atDataEnd
		return n, b.peekEnd()
	}
	return n, nil
}

// peekEnd finishes a chunked body whose end has already arrived, so that the
// caller need not read again to learn it.
func (b *bodyReader) peekEnd() error {
	was := b.src.frozen
	b.src.frozen = true
	_ = b.nextChunk() // an error that counts is kept in b.err
	b.src.frozen = was
	if b.err == io.EOF {
		return io.EOF
	}
	return nil
}

// fail keeps err as the body's end, unless it only came at a bad moment.
func (b *bodyReader) fail(err error) error {
	if err != errInterrupted && err != errNotBuffered {
		b.err = err
	}
	return err
}

// nextChunk steps to the next chunk's data, or to the body's end (io.EOF). Each
// step consumes all of its bytes or none, so that it can be tried again.
func (b *bodyReader) nextChunk() error {
	for {
		switch b.step {
		case inData:
			return nil
		case atDataEnd:
			line, err := b.src.readLine(2)
			if err != nil || len(line) > 0 {
				return b.fail(chunkError(err, "chunk longer than its size"))
			}
			b.step = atSize
		case atSize:
			line, err := b.src.readLine(maxChunkLine)
			if err != nil {
				return b.fail(chunkError(err, "chunk size line too long"))
			}
			size, ext, ok := parseChunkSize(line)
			if !ok {
				return b.fail(bad("malformed chunk size"))
			}
			// A few bytes of framing a chunk are to be expected.
			if b.waste = max(0, b.waste+int64(ext)-size-16); b.waste > maxChunkWaste {
				return b.fail(bad("chunk extensions too long"))
			}
			if b.left, b.step = size, inData; size == 0 {
				b.step = inTrailer
			}
		case inTrailer:
			line, err := b.src.readLine(maxTrailer)
			if err != nil {
				return b.fail(chunkError(err, "trailer too long"))
			}
			if len(line) == 0 {
				return b.fail(io.EOF)
			}
			if b.tail += len(line) + 2; b.tail > maxTrailer {
				return b.fail(bad("trailer too long"))
			}
			f, reason := cutField(string(line))
			if reason != "" {
				return b.fail(bad("trailer: %s", reason))
			}
			switch kindOf(f.Name) {
			case hostField, contentLengthField, transferEncodingField:
				return b.fail(bad("trailer: field %s is not allowed there", f.Name))
			}
			b.trailer = append(b.trailer, f)
		}
	}
}

// chunkError names a framing error; losses of the connection become CutShort.
func chunkError(err error, tooLong string) error {
	switch err {
	case nil, errLineTooLong:
		return bad("%s", tooLong)
	case errBareLF:
		return bad("chunked coding: line ends without CR")
	}
	return cutShort(err)
}

// parseChunkSize reads a chunk's size line; ext is the length of it that is
// not needed for the size.
func parseChunkSize(line []byte) (size int64, ext int, ok bool) {
	i := 0
	var n uint64
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			c = 255
		}
		if c == 255 {
			break
		}
		// The next digit could pass 2^52, HAProxy's bound: nobody has such a chunk, and some
		// parser's number would overflow.
		if n >= 1<<48 {
			return 0, 0, false
		}
		n = n<<4 | uint64(c)
	}
	if i == 0 || i > 16 {
		return 0, 0, false
	}
	rest := trimOWS(string(line[i:]))
	if rest == "" {
		// White space after the size: some servers pad it.
		return int64(n), len(line) - i, true
	}
	if rest[0] != ';' || !all(rest, isText) {
		return 0, 0, false
	}
	return int64(n), len(line), true
}

// discard reads the rest away, at most limit bytes of it, and reports whether
// that reached the end.
func (b *bodyReader) discard(limit int64) bool {
	if b.err != nil {
		return b.err == io.EOF
	}
	if b.mode == sized && b.left > limit {
		return false
	}
	var p [directBytes - 1]byte // small enough to go through the buffer
	for limit > 0 {
		n, err := b.read(p[:])
		if err != nil {
			return err == io.EOF
		}
		limit -= int64(n)
	}
	return false
}
