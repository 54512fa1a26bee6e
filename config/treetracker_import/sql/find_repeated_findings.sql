-- Findings that an earlier import had too, and settled in the same way: they are in the notes that it made.
UPDATE import_finding AS finding SET is_repeated = true
  FROM treetracker_import_importedrow AS row
 WHERE finding.action <> 'refuse' AND row.kind = finding.object AND row.source_id = finding.id
   AND position(format('%%s: %%s (%%s)', finding.kind, finding.detail, finding.action) IN row.note) > 0
