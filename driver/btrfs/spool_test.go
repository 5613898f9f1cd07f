package btrfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

func TestToken(t *testing.T) {
	good := token{12, sha256.Sum256([]byte("x"))}.String()
	if got, err := parseToken(good); err != nil || got.String() != good {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"", ":", "12", "12:", "0" + good, "+" + good, "-" + good, " " + good, good + " ", good + "00", strings.ToUpper(good),
		strings.Replace(good, "12:", "0:", 1), strings.Replace(good, "12:", "-1:", 1), good[:len(good)-1],
		strings.Replace(good, "12:", "99999999999999999999:", 1),
	} {
		if _, err := parseToken(bad); !errors.Is(err, driver.ErrStale) {
			t.Errorf("%q: %v, want ErrStale", bad, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("12:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseToken(s); err == nil && got.String() != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func TestSkipper(t *testing.T) {
	text := []byte("the stream that broke, and the rest of it")
	for cut := 1; cut <= len(text); cut++ {
		for step := 1; step <= len(text); step += 7 {
			var out bytes.Buffer
			s := newSkipper(&out, token{int64(cut), sha256.Sum256(text[:cut])})
			for i := 0; i < len(text); i += step {
				part := text[i:min(i+step, len(text))]
				if n, err := s.Write(part); err != nil || n != len(part) {
					t.Fatalf("cut %d, step %d: %d, %v", cut, step, n, err)
				}
			}
			if err := s.end(); err != nil || out.String() != string(text[cut:]) {
				t.Errorf("cut %d, step %d: %q, %v", cut, step, out.String(), err)
			}
		}
	}
	var out bytes.Buffer
	s := newSkipper(&out, token{5, sha256.Sum256([]byte("other"))})
	if _, err := s.Write(text); !errors.Is(err, driver.ErrStale) || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
	if s = newSkipper(&out, token{99, sha256.Sum256(nil)}); s.end() == nil {
		t.Error("a stream that is too short is none")
	}
}

// FuzzSpool reads a spool that somebody else may have written.
func FuzzSpool(f *testing.F) {
	dir, err := os.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = dir.Close() })
	head := spoolHead{Version: 1, GUID: uuidA}
	const name = "receiving-volsnap-ccn-20261121T020000.123Z.spool"
	s, err := openSpool(dir, name, head, "", strings.NewReader("what came"))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := io.ReadAll(s); err != nil {
		f.Fatal(err)
	}
	if err := s.end(true); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir.Name(), name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(dir.Name(), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := partialOf(dir, name)
		if err != nil {
			if !errors.Is(err, driver.ErrStale) {
				t.Fatal(err)
			}
			return
		}
		s, err := openSpool(dir, name, spoolHead{Version: 1, GUID: p.GUID, Base: p.Base}, p.Token, strings.NewReader(" and more"))
		if err != nil {
			t.Fatalf("what Partials told is not there: %v", err)
		}
		got, err := io.ReadAll(s)
		if err == nil && (int64(len(got)) != p.Bytes+9 || token{p.Bytes, sha256.Sum256(got[:p.Bytes])}.String() != p.Token) {
			t.Errorf("%q of %+v", got, p)
		}
		if err := s.end(false); err != nil {
			t.Fatal(err)
		}
	})
}
