extension Model {
    /// The table that Keras's summary() prints, with a column that tells whether the layer streams.
    public var summary: String {
        var rows: [[String]] = []
        for entry in entries {
            let kind = entry.layer.name.string + " (" + entry.layer.className.string + ")"
            rows.append([kind, describe(entry.shape), grouped(entry.parameterCount), entry.reason.utf8.isEmpty ? "yes" : "no"])
        }
        let head = ["Layer (type)", "Output Shape", "Param #", "Streams"]
        var widths = head.map { $0.utf8.count }
        for row in rows {
            for (i, cell) in row.enumerated() { widths[i] = max(widths[i], cell.utf8.count) }
        }
        let line = String(repeating: "─", count: widths.reduce(0, +) + 3 * widths.count - 1)
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

    private func tableRow(_ cells: [String], _ widths: [Int]) -> String {
        var text = ""
        for (i, cell) in cells.enumerated() {
            let padding = String(repeating: " ", count: widths[i] - cell.utf8.count)
            // Numbers stand to the right.
            text += " " + (i == 2 ? padding + cell : cell + padding) + "  "
        }
        return text + "\n"
    }
}

/// A number with its thousands set apart: 6,272.
func grouped(_ number: Int) -> String {
    number < 1000 ? "\(number)" : grouped(number / 1000) + "," + String("\(1000 + number % 1000)".utf8.dropFirst())!
}
