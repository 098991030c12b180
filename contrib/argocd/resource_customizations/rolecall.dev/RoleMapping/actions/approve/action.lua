-- By number: it releases what was held when the status was written, and nothing that came after it.
if obj.status ~= nil and obj.status.heldIndex ~= nil then
  if obj.metadata.annotations == nil then
    obj.metadata.annotations = {}
  end
  obj.metadata.annotations["rolecall.dev/approve"] = tostring(obj.status.heldIndex)
end
return obj
