package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file. The YAML library takes time that grows with the square of the number of keys or empty lines, and
// recurses once a level, so these are what keeps a hostile file from stopping a run.
const (
	maxSize  = 1 << 20
	maxLines = 5_000
	maxLine  = 4096 // bytes
	maxDepth = 16   // the documented keys need 8

	tooDeep = "more than %d levels deep"
)

// tree turns the file's text into nodes. When it reports a problem the node is of no use.
func (r *report) tree(data []byte) node {
	if len(data) > maxSize {
		r.add(0, "", "the file is larger than 1 MiB")
		return node{}
	}
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")) // the library counts a line twice where a comment ends in CRLF
	if r.checkText(data); len(r.problems) > 0 {
		return node{}
	}
	root, err := r.parse(string(data))
	var f fault
	switch {
	case errors.As(err, &f):
		r.add(f.line, "", "%s", f.text)
	case err != nil:
		r.add(0, "", "%v", err)
	case root.kind == none && len(r.problems) == 0:
		r.add(0, "", "the file is empty: at least version and apps are needed")
	}
	return root
}

// checkText reports what no configuration contains, whatever YAML would make of it.
func (r *report) checkText(data []byte) {
	if !utf8.Valid(data) {
		r.add(1+bytes.Count(data[:invalidAt(data)], []byte("\n")), "", "the file is not UTF-8 text")
		return
	}
	if bytes.Count(data, []byte("\n")) > maxLines {
		r.add(0, "", "the file has more than %d lines", maxLines)
		return
	}
	at := 0
	for text := range bytes.Lines(data) {
		at++
		if len(text) > maxLine {
			r.add(at, "", "the line is longer than %d bytes", maxLine)
		}
		if i := bytes.IndexFunc(text, func(c rune) bool { return isControl(c) && c != '\n' && c != '\t' }); i >= 0 {
			c, _ := utf8.DecodeRune(text[i:])
			r.add(at, "", "the line contains the unprintable character %U", c)
		}
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if bytes.ContainsRune(indent, '\t') {
			r.add(at, "", "a tab in the indentation: YAML takes only spaces there")
		}
	}
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

func (r *report) parse(text string) (root node, err error) {
	// Bad text made several releases of the library panic (goccy/go-yaml#439, #471, #890). Fuzzing found no such text for
	// the release in use; if there is one it is a bad file like others, not the end of whatever else was asked for.
	defer func() {
		if p := recover(); p != nil {
			root, err = node{}, fmt.Errorf("not YAML: the parser gave up (%v)", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	if r.checkTokens(tokens); len(r.problems) > 0 {
		return node{}, nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // the decoder reports each of them, with its path
	if err != nil {
		return node{}, syntaxFault(err)
	}
	docs := documents(file)
	if len(docs) > 1 {
		return node{}, fault{docLine(docs[1]), "a second document begins here: a configuration is one document"}
	}
	if len(docs) == 0 {
		return node{kind: none}, nil
	}
	return build(docs[0].Body, maxDepth)
}

// documents leaves out an empty first document, which is what comments before "---" are.
func documents(file *ast.File) []*ast.DocumentNode {
	docs := file.Docs
	if len(docs) > 1 && docs[0].Body == nil && docs[0].Start == nil {
		return docs[1:]
	}
	return docs
}

func docLine(d *ast.DocumentNode) int {
	if d.Start != nil {
		return d.Start.Position.Line
	}
	if d.Body != nil {
		return line(d.Body)
	}
	return 0
}

// forbidden is what would let a short file mean much, or hide what it means.
var forbidden = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not allowed: write the value out where it is wanted, or quote the text",
	token.AliasType:      "aliases (*) are not allowed: write the value out, or quote the text",
	token.MergeKeyType:   "merge keys (<<) are not allowed: write the keys out",
	token.TagType:        "tags (!) are not allowed: leave it out, or quote the text",
	token.DirectiveType:  "directives (%) are not allowed: leave it out, or quote the text",
	token.MappingKeyType: "keys marked by ? are not allowed: write KEY: VALUE",
}

// checkTokens refuses those, and nesting that could exhaust the parser's stack.
func (r *report) checkTokens(tokens token.Tokens) {
	depth, dashes, at := 0, 0, 0
	for _, tk := range tokens {
		if tk.Position.Line != at {
			dashes, at = 0, tk.Position.Line
		}
		if text, bad := forbidden[tk.Type]; bad {
			r.add(tk.Position.Line, "", "%s", text)
		}
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			dashes++ // "- - -" is three levels in one line
		}
		if max(depth, dashes) > maxDepth {
			r.add(tk.Position.Line, "", tooDeep, maxDepth)
			return
		}
	}
}

// syntaxFault takes the line out of an error of the library, whose text would repeat the source over several lines.
func syntaxFault(err error) error {
	var placed interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if !errors.As(err, &placed) {
		return fmt.Errorf("not YAML: %w", err)
	}
	at := 0
	if tk := placed.GetToken(); tk != nil && tk.Position != nil {
		at = tk.Position.Line
	}
	return fault{at, "not YAML: " + placed.GetMessage()}
}
