"""What an editor asks about `.net` texts: `session` holds the open documents, `protocol` speaks LSP with pygls.

A `Session` and the features know neither pygls nor asyncio. Positions are offsets into the normalized text of a
`Source`, except in `document` and `protocol`.
"""
