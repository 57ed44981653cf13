"""The playground: a page in the browser that edits a net, and its local server.

`server` speaks HTTP and refuses what is not from its own page, `playground` answers the page with the features of
`netdsl.desk`, and `page/` is what the browser loads. `play.js` in it is built from editors/play.
"""
