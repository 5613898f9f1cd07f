package stream

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	guid = "K2uY6m-bjnM-MKFw-g4DP-pmou-5fRr-1uEeXk"
	base = "ZmIVa7-ePZ3-3de0-sI4N-NG1c-vaOb-cyNnVk"
)

var head = Head{GUID: guid, Base: base, Size: 64 << 20, Block: 64 << 10}

// sample is a stream of three records.
func sample() []Record {
	return []Record{
		{Kind: Data, Offset: 0, Length: Sector, Data: bytes.Repeat([]byte{1}, Sector)},
		{Kind: Discard, Offset: 1 << 20, Length: 30 << 20},
		{Kind: Data, Offset: 63 << 20, Length: MaxData, Data: bytes.Repeat([]byte{2}, MaxData)},
	}
}

func encode(t interface{ Fatal(...any) }, h Head, from Position, all []Record) []byte {
	out, err := tryEncode(h, from, all)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryEncode(h Head, from Position, all []Record) ([]byte, error) {
	var out bytes.Buffer
	w, err := NewWriter(&out, h, from)
	for _, r := range all {
		if err == nil {
			err = w.Write(r)
		}
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// decode reads a stream to its end, with the position after each record.
func decode(in io.Reader, from Position) (h Head, all []Record, at []Position, err error) {
	r := NewReader(in)
	if h, err = r.Head(); err != nil {
		return h, nil, nil, err
	}
	if from.Records > 0 {
		r.GoOn(from)
	}
	for {
		one, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, ErrBad) {
			return h, all, at, nil
		}
		if err != nil {
			return h, all, at, err
		}
		one.Data = bytes.Clone(one.Data)
		all, at = append(all, one), append(at, r.Position())
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := head
		if rapid.Bool().Draw(t, "full") {
			h.Base = ""
		}
		var want []Record
		end := int64(0)
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			r := Record{Kind: Data, Offset: end + Sector*rapid.Int64Range(0, 100).Draw(t, "gap")}
			r.Length = Sector * rapid.Int64Range(1, 64).Draw(t, "sectors")
			if h.Base != "" && rapid.Bool().Draw(t, "discard") {
				r.Kind = Discard
			} else {
				r.Data = bytes.Repeat([]byte{byte(len(want))}, int(r.Length))
			}
			end = r.Offset + r.Length
			want = append(want, r)
		}
		text := encode(t, h, Position{}, want)
		got, all, at, err := decode(bytes.NewReader(text), Position{})
		if diff := cmp.Diff(want, all); err != nil || got != h || diff != "" {
			t.Fatal(err, got, diff)
		}
		if len(at) == 0 {
			return
		}
		from := at[rapid.IntRange(0, len(at)-1).Draw(t, "from")]
		if parsed, err := ParsePosition(from.String()); err != nil || parsed != from {
			t.Fatalf("%s became %s, %v", from, parsed, err)
		}
		rest := encode(t, h, from, want)
		if int64(len(rest))+from.Sent() != int64(len(text)+headSize) {
			t.Fatalf("%d of %d bytes were kept, and %d sent", from.Sent(), len(text), len(rest))
		}
		if _, all, _, err = decode(bytes.NewReader(rest), from); err != nil || cmp.Diff(want[from.Records:], all, equalEmpty) != "" {
			t.Fatal(err)
		}
	})
}

var equalEmpty = cmp.Comparer(func(a, b []Record) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Kind != b[i].Kind || a[i].Offset != b[i].Offset || !bytes.Equal(a[i].Data, b[i].Data) {
			return false
		}
	}
	return true
})

// Every bit of a stream counts, and so does its length.
func TestDamageIsSeen(t *testing.T) {
	text := encode(t, head, Position{}, sample())
	for at := 0; at < len(text); at += 1 + at/900*37 {
		bad := bytes.Clone(text)
		bad[at] ^= 0x10
		if _, _, _, err := decode(bytes.NewReader(bad), Position{}); !errors.Is(err, ErrBad) {
			t.Fatalf("damaged at %d of %d: %v", at, len(text), err)
		}
		_, _, _, err := decode(bytes.NewReader(text[:at]), Position{})
		if !errors.Is(err, ErrBad) || !errors.Is(err, ErrBroken) {
			t.Fatalf("cut at %d of %d: %v", at, len(text), err)
		}
	}
	if _, _, _, err := decode(bytes.NewReader(append(bytes.Clone(text), 0)), Position{}); !errors.Is(err, ErrBad) {
		t.Errorf("one byte more: %v", err)
	}
	errLine := errors.New("line")
	_, _, _, err := decode(io.MultiReader(bytes.NewReader(text), &failing{errLine}), Position{})
	if !errors.Is(err, ErrBad) || !errors.Is(err, ErrBroken) || !errors.Is(err, errLine) {
		t.Errorf("a line that fails at the end: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestImpossibleRecords(t *testing.T) {
	data := make([]byte, Sector)
	first := Record{Kind: Data, Offset: 1 << 20, Length: Sector, Data: data}
	full := head
	full.Base = ""
	for name, c := range map[string]struct {
		head Head
		bad  Record
	}{
		"no kind":          {head, Record{Offset: 2 << 20, Length: Sector}},
		"the end's kind":   {head, Record{Kind: end, Offset: 2 << 20, Length: Sector}},
		"another kind":     {head, Record{Kind: 4, Offset: 2 << 20, Length: Sector}},
		"discard of none":  {full, Record{Kind: Discard, Offset: 2 << 20, Length: Sector}},
		"overlap":          {head, Record{Kind: Discard, Offset: 1 << 20, Length: Sector}},
		"backwards":        {head, first},
		"negative offset":  {head, Record{Kind: Discard, Offset: -Sector, Length: Sector}},
		"negative length":  {head, Record{Kind: Discard, Offset: 2 << 20, Length: -Sector}},
		"nothing":          {head, Record{Kind: Discard, Offset: 2 << 20}},
		"part of a sector": {head, Record{Kind: Discard, Offset: 2<<20 + 1, Length: Sector}},
		"odd length":       {head, Record{Kind: Discard, Offset: 2 << 20, Length: Sector + 1}},
		"too long":         {head, Record{Kind: Data, Offset: 2 << 20, Length: MaxData + Sector, Data: make([]byte, MaxData+Sector)}},
		"across the end":   {head, Record{Kind: Discard, Offset: 63 << 20, Length: 2 << 20}},
		"behind the end":   {head, Record{Kind: Discard, Offset: 65 << 20, Length: Sector}},
		"overflow":         {head, Record{Kind: Discard, Offset: 2 << 20, Length: 1<<63 - Sector}},
	} {
		if _, err := tryEncode(c.head, Position{}, []Record{first, c.bad}); err == nil {
			t.Errorf("%s: was written", name)
		}
		var out bytes.Buffer // as a peer could write it
		w, err := NewWriter(&out, c.head, Position{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(first), w.put(c.bad, w.at.after(c.bad)), w.w.Flush()); err != nil {
			t.Fatal(err)
		}
		if _, all, _, err := decode(&out, Position{}); !errors.Is(err, ErrBad) || errors.Is(err, ErrBroken) || len(all) != 1 {
			t.Errorf("%s: %v after %d records", name, err, len(all))
		}
	}
}

func TestImpossibleHeads(t *testing.T) {
	for name, spoil := range map[string]func(*Head){
		"no GUID": func(h *Head) { h.GUID = "" }, "bad GUID": func(h *Head) { h.GUID = guid[1:] + "/" },
		"bad base": func(h *Head) { h.Base = "x" }, "itself": func(h *Head) { h.Base = guid },
		"no size": func(h *Head) { h.Size = 0 }, "negative": func(h *Head) { h.Size = -Sector }, "huge": func(h *Head) { h.Size = MaxSize + Sector },
		"odd size": func(h *Head) { h.Size++ }, "no blocks": func(h *Head) { h.Block = 0 }, "odd blocks": func(h *Head) { h.Block = 1000 },
	} {
		h := head
		spoil(&h)
		if _, err := NewWriter(io.Discard, h, Position{}); err == nil {
			t.Errorf("%s: was written", name)
		}
		text, _ := h.encode()
		if _, err := NewReader(bytes.NewReader(text)).Head(); !errors.Is(err, ErrBad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A position of another stream is told before anything is written.
func TestPositionOfAnother(t *testing.T) {
	all := sample()
	_, _, at, err := decode(bytes.NewReader(encode(t, head, Position{}, all)), Position{})
	if err != nil {
		t.Fatal(err)
	}
	other := sample()
	other[0].Data[3]++
	longer := head
	longer.Size += Sector
	for name, c := range map[string]struct {
		head Head
		all  []Record
	}{"other data": {head, other}, "other size": {longer, all}, "shorter": {head, all[:1]}} {
		if out, err := tryEncode(c.head, at[1], c.all); !errors.Is(err, ErrOther) || len(out) > 0 {
			t.Errorf("%s: %v, %d bytes", name, err, len(out))
		}
	}
	for _, bad := range []string{
		"", "1-2-3", at[0].String() + "0", " " + at[0].String(), "0" + at[0].String(), "-" + at[0].String(), Position{}.String(),
		"9223372036854775808-1-1-" + at[0].String(), "../../../etc/passwd",
	} {
		if p, err := ParsePosition(bad); !errors.Is(err, ErrOther) {
			t.Errorf("%q: %v, %v", bad, p, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	small := sample()[:2]
	f.Add(encode(f, head, Position{}, small))
	f.Add(encode(f, head, Position{}, nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, all, _, err := decode(bytes.NewReader(text), Position{})
		if err != nil {
			if !errors.Is(err, ErrBad) {
				t.Fatal(err)
			}
			return
		}
		if again := encode(t, h, Position{}, all); !bytes.Equal(again, text) {
			t.Fatal("what was read is written differently")
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("3-4096-512-" + "00000000000000000000000000000000000000000000000000000000000000aa")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := ParsePosition(text); err == nil && p.String() != text {
			t.Fatalf("%q became %s", text, p)
		}
	})
}
