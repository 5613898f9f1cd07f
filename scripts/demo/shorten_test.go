package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShorten(t *testing.T) {
	short := strings.NewReplacer("/a/long/path", "$P")
	for _, tc := range []struct{ name, in, want string }{
		{"prose", "one /a/long/path\ntwo  three\n", "one $P\ntwo  three\n"},
		{"a table after prose", "prose\n\n" +
			"volume          in it  older than\n" +
			"/a/long/path/x  x\n" +
			"pg              _data  /a/long/path/x\n", "prose\n\n" +
			"volume  in it  older than\n" +
			"$P/x    x      \n" +
			"pg      _data  $P/x"},
		{"columns that do not meet", "a    b\n/a/long/path  c\n", "a    b\n$P  c\n"},
		{"an empty text", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, shorten(tc.in, short)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
