package transport_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/klauspost/compress/zstd"
)

// hostile speaks the protocol by hand.
type hostile struct {
	t       *testing.T
	session *yamux.Session
}

func newHostile(t *testing.T, conn net.Conn) *hostile {
	t.Helper()
	if _, err := io.WriteString(conn, "VOLSNAP1"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Client(conn, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return &hostile{t, session}
}

// say sends bytes as one request and ends it; the answer is what comes back, "" if nothing does.
func (h *hostile) say(request []byte) (answer string, failed bool) {
	h.t.Helper()
	return h.speak(request, true)
}

// speak is say, and may leave the request open, as who waits for a stream does.
func (h *hostile) speak(request []byte, end bool) (answer string, failed bool) {
	h.t.Helper()
	s, err := h.session.OpenStream()
	if err != nil {
		h.t.Fatalf("the connection is gone: %v", err)
	}
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = s.Write(request) // it may be refused before it is read
	if end {
		_ = s.Close()
	}
	defer func() { _ = s.Close() }()
	text, err := io.ReadAll(s)
	text = bytes.TrimPrefix(text, []byte{0xff, 0xff, 0xff, 0xff}) // a body that was given up
	if err != nil {
		h.t.Errorf("no end of the answer: %v", err)
	}
	var a struct{ Error string }
	if len(text) < 4 || json.Unmarshal(text[4:], &a) != nil {
		return string(text), false
	}
	return string(text), a.Error != ""
}

func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func chunks(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, frame(p)...)
	}
	return b
}

// packedChunk says of the first part that it is packed.
func packedChunk(parts ...string) []byte {
	b := chunks(parts...)
	b[0] |= 0x80
	return b
}

// receiving is a request to receive a member with some fields changed, and no body yet.
func receiving(t *testing.T, change func(m map[string]any)) []byte {
	t.Helper()
	text, err := json.Marshal(member(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(m)
	}
	text, err = json.Marshal(map[string]any{"op": "receive", "receive": map[string]any{"Snapshot": m}})
	if err != nil {
		t.Fatal(err)
	}
	return frame(string(text))
}

// packed is a zstd frame of so many zeros.
func packed(t *testing.T, zeros int, window int) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(make([]byte, zeros)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Whatever a client says that it may not, or that makes no sense, is refused, changes nothing, and keeps nobody else from
// being served.
func TestHostileClient(t *testing.T) {
	whole := chunks("whole", "")
	set := func(key string, v any) func(map[string]any) { return func(m map[string]any) { m[key] = v } }
	tries := map[string][]byte{
		"nothing":                          {},
		"half a head":                      {0, 0},
		"an empty message":                 frame(""),
		"no JSON":                          frame("list"),
		"JSON that ends early":             frame(`{"op":"list"`),
		"a list":                           frame(`["list"]`),
		"a number":                         frame(`7`),
		"null":                             frame(`null`),
		"no operation":                     frame(`{}`),
		"an unknown operation":             frame(`{"op":"exec","app":"id"}`),
		"rollback":                         frame(`{"op":"rollback"}`),
		"set a property":                   frame(`{"op":"set","reason":"mountpoint=/"}`),
		"an operation that is a map":       frame(`{"op":{}}`),
		"a message too large":              append([]byte{0xff, 0xff, 0xff, 0xff}, "x"...),
		"a message that ends early":        append([]byte{0, 0x40, 0, 0}, "x"...),
		"JSON that is deep":                frame(strings.Repeat(`{"op":`, 100_000)),
		"destroy":                          frame(`{"op":"destroy","kind":"fake","snapshots":[{"Name":"/place/b","GUID":"b"}]}`),
		"unseal":                           frame(`{"op":"unseal","kind":"fake","snapshots":[{"Name":"/place/b","GUID":"b"}]}`),
		"seal":                             frame(`{"op":"seal","kind":"fake","class":"atomic","snapshots":[{"Name":"/place/b","GUID":"b"}]}`),
		"pin":                              frame(`{"op":"pin","kind":"fake","reason":"r","snapshots":[{"Name":"/place/b","GUID":"b"}]}`),
		"pin of an own set":                frame(`{"op":"pin","origin":true,"reason":"base of target x/y","snapshot":{"GUID":"b"}}`),
		"sets of the host":                 frame(`{"op":"list","origin":true,"app":"ccn"}`),
		"commit at the source":             frame(`{"op":"commit","origin":true,"manifest":{"id":"` + string(id) + `","app":"ccn"}}`),
		"unpin":                            frame(`{"op":"unpin","kind":"fake","reason":"r","snapshots":[{"Name":"/place/b","GUID":"b"}]}`),
		"Destroy in capitals":              frame(`{"OP":"destroy","kind":"fake","snapshots":[{"GUID":"b"}]}`),
		"commit nothing":                   frame(`{"op":"commit"}`),
		"commit a set of nobody":           frame(`{"op":"commit","manifest":{"id":"","app":""}}`),
		"commit what never came":           frame(`{"op":"commit","manifest":{"id":"` + string(id) + `","app":"ccn","members":[{"guid":"z"}]}}`),
		"commit without members":           frame(`{"op":"commit","manifest":{"id":"` + string(id) + `","app":"ccn","members":[]}}`),
		"commit another app":               frame(`{"op":"commit","manifest":{"id":"` + string(id) + `","app":"other","members":[{"guid":"z"}]}}`),
		"commit outside":                   frame(`{"op":"commit","manifest":{"id":"../../../etc-20261121T020000.123Z","app":"../../../etc","members":[{"guid":"z"}]}}`),
		"receive nothing":                  frame(`{"op":"receive"}`),
		"receive without a body":           receiving(t, nil),
		"a body without an end":            append(receiving(t, nil), chunks("half")...),
		"a chunk cut off":                  append(receiving(t, nil), 0, 0, 1, 0, 'x'),
		"a chunk too large":                append(receiving(t, nil), 0xff, 0, 0, 0, 'x'),
		"a packed chunk that is none":      append(receiving(t, nil), packedChunk("whole", "")...),
		"a packed chunk of nothing":        append(receiving(t, nil), packedChunk("", "")...),
		"a packed body without an end":     append(receiving(t, nil), packedChunk(string(packed(t, 5, 1<<18)))...),
		"a packed chunk cut off":           append(receiving(t, nil), packedChunk(string(packed(t, 100, 1<<18)[:9]), "")...),
		"a packed chunk that goes on":      append(receiving(t, nil), packedChunk(string(packed(t, 5, 1<<18))+"and on", "")...),
		"a packed chunk that grows":        append(receiving(t, nil), packedChunk(string(packed(t, 64<<20, 1<<18)), "")...),
		"a window of more than is granted": append(receiving(t, nil), packedChunk(string(packed(t, 1<<18, 32<<20)), "")...),
		"a packed chunk too large":         append(receiving(t, nil), 0x8f, 0xff, 0xff, 0xff, 'x'),
		"another kind":                     append(receiving(t, set("Dataset", map[string]string{"Kind": "zfs", "Name": "tank"})), whole...),
		"no set":                           append(receiving(t, set("Set", "")), whole...),
		"a set outside":                    append(receiving(t, set("Set", "../x-20261121T020000.123Z")), whole...),
		"a set with a line break":          append(receiving(t, set("Set", "ccn\n-20261121T020000.123Z")), whole...),
		"no member":                        append(receiving(t, set("Member", 0)), whole...),
		"a member below zero":              append(receiving(t, set("Member", -1)), whole...),
		"a member beyond all":              append(receiving(t, set("Member", 2)), whole...),
		"a set of a billion":               append(receiving(t, set("Of", 1_000_000_000)), whole...),
		"no GUID":                          append(receiving(t, set("GUID", "")), whole...),
		"a number that is text":            append(receiving(t, set("Order", "1")), whole...),
		"a time that is none":              append(receiving(t, set("Taken", "yesterday")), whole...),
	}
	if len(tries) < 40 {
		t.Fatalf("%d things are tried", len(tries))
	}
	for name, request := range tries {
		t.Run(name, func(t *testing.T) {
			s, conn := server(t)
			h := newHostile(t, conn)
			if answer, failed := h.say(request); !failed {
				t.Errorf("answered %.200q", answer)
			}
			if got := s.changed(); len(got) != 0 {
				t.Errorf("changed %v", got)
			}
			if answer, failed := h.say(frame(`{"op":"list"}`)); failed || !strings.Contains(answer, `"listing"`) {
				t.Errorf("afterwards: %.200q", answer)
			}
		})
	}
}

// Nothing is sent but what is in the client's own place.
func TestHostileFetch(t *testing.T) {
	for name, request := range map[string][]byte{
		"a stream of the host":   frame(`{"op":"send","origin":true,"send":{"Snapshot":{"Set":"` + string(id) + `","Member":1,"Of":1,"GUID":"b"}}}`),
		"send nothing":           frame(`{"op":"send"}`),
		"send what is no member": frame(`{"op":"send","send":{"Snapshot":{"Name":"/etc/shadow"}}}`),
		"send of another kind":   frame(`{"op":"send","send":{"Snapshot":{"Dataset":{"Kind":"zfs","Name":"tank"},"Set":"` + string(id) + `","Member":1,"Of":1,"GUID":"b"}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			s, conn := server(t)
			if answer, failed := newHostile(t, conn).speak(request, false); !failed {
				t.Errorf("answered %.200q", answer)
			}
			if got := s.changed(); len(got) != 0 {
				t.Errorf("changed %v", got)
			}
		})
	}
}

// What comes before there are requests, and what is no yamux, ends the connection and nothing else.
func TestHostileGreeting(t *testing.T) {
	for i, says := range []string{
		"", "V", "GET / HTTP/1.1\r\n\r\n", "VOLSNAP2", "volsnap1", "VOLSNAP1" + strings.Repeat("\xff", 100), "VOLSNAP1" + strings.Repeat("\x00", 100),
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s, conn := server(t)
			_, _ = io.WriteString(conn, says) // it may be gone by then
			if c, ok := conn.(*net.UnixConn); ok {
				_ = c.CloseWrite()
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) { // a reset is a way to hang up
				t.Errorf("the server does not hang up: %v", err)
			}
			if got := s.changed(); len(got) != 0 {
				t.Errorf("changed %v", got)
			}
		})
	}
}

// Many requests at once are served, some at a time.
func TestManyRequests(t *testing.T) {
	s, conn := server(t)
	s.block = make(chan struct{})
	h := newHostile(t, conn)
	var streams []*yamux.Stream
	for range 200 {
		st, err := h.session.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = st.Write(append(receiving(t, nil), chunks("x", "")...))
		streams = append(streams, st)
	}
	close(s.block)
	for _, st := range streams {
		_ = st.SetDeadline(time.Now().Add(20 * time.Second))
		_ = st.Close()
		if text, err := io.ReadAll(st); err != nil || !strings.Contains(string(text), "snapshot") {
			t.Fatalf("%.100q, %v", text, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(frame(`{"op":"list"}`))
	f.Add(frame(`{"op":"destroy","kind":"fake","snapshots":[{"GUID":"b"}]}`))
	f.Add(append(frame(`{"op":"receive","receive":{"Snapshot":{"Set":"ccn-20261121T020000.123Z"}}}`), chunks("x", "")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, conn := server(t)
		h := newHostile(t, conn)
		_, _ = h.say(data)
		for _, what := range s.changed() {
			if !strings.HasPrefix(what, "receive ") {
				t.Fatalf("changed: %s", what)
			}
		}
	})
}
