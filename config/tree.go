package config

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node of the file is, in the words that problems use.
type kind string

const (
	none    kind = "nothing"
	text    kind = "text"
	number  kind = "a number"
	boolean kind = "a boolean"
	list    kind = "a list"
	mapping kind = "a map"
)

// node is a piece of the file without anything that is the YAML library's.
type node struct {
	kind  kind
	line  int
	text  string // of a text its value, of a number or boolean what is written
	plain bool   // a text without quotes
	items []node // of a list
	pairs []pair // of a map, in order; keys may occur twice
}

type pair struct {
	key   node
	value node
}

func (n node) String() string {
	switch n.kind {
	case text:
		return "the text " + quote(n.text)
	case number:
		return "the number " + n.text
	case boolean:
		return "the boolean " + n.text
	}
	return string(n.kind)
}

// build copies a node of the library. Depth is how many more levels it may have.
func build(n ast.Node, depth int) (node, error) {
	if n == nil {
		return node{kind: none}, nil
	}
	if depth == 0 {
		return node{}, fault{line(n), fmt.Sprintf(tooDeep, maxDepth)}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return buildMap(n.Values, line(n), depth)
	case *ast.MappingValueNode:
		return buildMap([]*ast.MappingValueNode{n}, line(n), depth)
	case *ast.SequenceNode:
		out := node{kind: list, line: line(n)}
		for _, item := range n.Values {
			built, err := build(item, depth-1)
			if err != nil {
				return node{}, err
			}
			out.items = append(out.items, built)
		}
		return out, nil
	}
	return buildScalar(n)
}

func buildMap(values []*ast.MappingValueNode, at, depth int) (node, error) {
	out := node{kind: mapping, line: at}
	for _, v := range values {
		key, err := build(v.Key, depth-1)
		if err != nil {
			return node{}, err
		}
		val, err := build(v.Value, depth-1)
		if err != nil {
			return node{}, err
		}
		if val.kind == none || val.line == 0 {
			val.line = key.line // an empty value has no good place of its own
		}
		out.pairs = append(out.pairs, pair{key, val})
	}
	if len(out.pairs) > 0 {
		out.line = out.pairs[0].key.line // the library's is that of the first colon
	}
	return out, nil
}

func buildScalar(n ast.Node) (node, error) {
	out := node{line: line(n)}
	if tk := n.GetToken(); tk != nil {
		out.text = tk.Value
		out.plain = tk.Type != token.SingleQuoteType && tk.Type != token.DoubleQuoteType
	}
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = none
	case *ast.BoolNode:
		out.kind = boolean
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind = number
	case *ast.StringNode:
		out.kind, out.text = text, n.Value
	case *ast.LiteralNode:
		out.kind, out.text, out.plain = text, n.Value.Value, false
	default:
		// Anchors, tags and the like were refused as tokens; what is left is a form of YAML that no key here takes.
		return node{}, fault{out.line, "this form of YAML is not understood here"}
	}
	return out, nil
}

func line(n ast.Node) int {
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		return tk.Position.Line
	}
	return 0
}

// fault is what makes a file unreadable as a whole.
type fault struct {
	line int
	text string
}

func (f fault) Error() string { return f.text }
