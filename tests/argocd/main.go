// What others make of our objects, by their own code: `kubectl wait`, Helm 4, kstatus, and Argo CD's Lua interpreter on our scripts.
//
//	argocd lua <folder>...            runs health_test.yaml and action_test.yaml below resource_customizations, in Argo CD's format
//	argocd verdicts <folder> <file>   judges every situation of the file, and compares with what it expects
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	time.Local = time.FixedZone("elsewhere", 5*60*60) // what is meant to be UTC shows
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "lua":
		err = runLuaTests(args[1])
	case len(args) == 3 && args[0] == "verdicts":
		err = judgeAll(args[1], args[2])
	default:
		err = fmt.Errorf("usage: argocd lua <resource_customizations> | argocd verdicts <resource_customizations> <situations.yaml>")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
