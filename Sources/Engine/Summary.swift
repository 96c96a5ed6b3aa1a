extension Model {
    /// The table that Keras's summary() prints, with a column that tells whether the layer streams.
    public var summary: Text {
        var rows: [[Text]] = []
        for entry in entries {
            let kind = entry.layer.name + " (" + entry.layer.className + ")"
            rows.append([kind, describe(entry.shape), grouped(entry.parameterCount), entry.reason.isEmpty ? "yes" : "no"])
        }
        let head: [Text] = ["Layer (type)", "Output Shape", "Param #", "Streams"]
        var widths = head.map { $0.count }
        for row in rows {
            for (i, cell) in row.enumerated() { widths[i] = max(widths[i], cell.count) }
        }
        let line = Text(repeating: "─", count: widths.reduce(0, +) + 3 * widths.count - 1)
        var text = line + "\n" + tableRow(head, widths) + line + "\n"
        for row in rows { text += tableRow(row, widths) }
        text += line + "\n"
        var trainable = 0, fixed = 0
        for weight in weights {
            if weight.isTrainable { trainable += weight.count } else { fixed += weight.count }
        }
        text += "Total params: \(grouped(trainable + fixed))\n"
        text += "Trainable params: \(grouped(trainable))\n"
        text += "Non-trainable params: \(grouped(fixed))\n"
        if !canStream { text += "Cannot stream: \(obstacle)\n" }
        return text
    }

    private func tableRow(_ cells: [Text], _ widths: [Int]) -> Text {
        var text: Text = ""
        for (i, cell) in cells.enumerated() {
            let padding = Text(repeating: " ", count: widths[i] - cell.count)
            // Numbers stand to the right.
            text += " " + (i == 2 ? padding + cell : cell + padding) + "  "
        }
        return text + "\n"
    }
}

/// A number with its thousands set apart: 6,272.
func grouped(_ number: Int) -> Text {
    number < 1000 ? "\(number)" : grouped(number / 1000) + "," + Text(("\(1000 + number % 1000)" as Text).bytes.dropFirst())
}
