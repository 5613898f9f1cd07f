package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Nothing that stands in an accepted file may get lost between the library's tokens and our nodes: a key that was dropped in
// silence would be an option that is read and ignored.
func FuzzNothingIsLost(f *testing.F) {
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	for _, text := range []string{
		"a: {b: 1, c}\n", "a: [b, c, [d]]\n", "a:\n- b\n- c: d\n", "a: b\n  c\nd: >\n  e\n\n  f\n", "a: 'b\n  c'\n", "{a: {b: 1 c: 2}}\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &report{file: "x"}
		root := r.tree([]byte(text))
		if len(r.problems) > 0 {
			return
		}
		if got, want := leaves(root), written(text); got < want {
			t.Fatalf("%q: %d of %d scalars arrive: %+v", text, got, want, root)
		}
	})
}

func leaves(n node) int {
	count := 0
	for _, item := range n.items {
		count += leaves(item)
	}
	for _, p := range n.pairs {
		count += leaves(p.key) + leaves(p.value)
	}
	if n.kind == text || n.kind == number || n.kind == boolean {
		count++
	}
	return count
}

func written(text string) int {
	count := 0
	for _, tk := range lexer.Tokenize(strings.ReplaceAll(text, "\r\n", "\n")) {
		switch tk.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.BoolType, token.IntegerType, token.FloatType,
			token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType:
			count++
		}
	}
	return count
}
