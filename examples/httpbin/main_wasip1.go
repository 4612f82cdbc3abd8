package main

// A reactor's main is never called.
func main() {}
